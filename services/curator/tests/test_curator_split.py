from jeeves_curator.split import draw, ngram_overlap, split_pairs
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.contracts.prompts import REFUSAL


def pairs(folders: int, documents: int) -> list[Pair]:
    return [
        Pair(
            id=f"{folder}-{document}-{number}",
            kind="concept",
            question=f"What about {draw(1, str(folder), str(document), str(number))}?",
            answer=f"It is {draw(2, str(folder), str(document), str(number))}, said with {number}.",
            source_path=f"src/{folder}/{document}.md",
        )
        for folder in range(folders)
        for document in range(documents)
        for number in range(2)
    ]


def documents_of(part: list[Pair]) -> set[str]:
    return {pair.source_path for pair in part if pair.source_path}


def test_documents_are_split_evenly_over_folders() -> None:
    split = split_pairs(pairs(6, 20), 0.2, 17)
    exam = documents_of(split.evaluation)
    assert len(exam) == 24
    for folder in range(6):
        assert len([path for path in exam if path.startswith(f"src/{folder}/")]) == 4
    assert not exam & documents_of(split.train)
    assert len(split.train) + len(split.evaluation) + len(split.leaks) == 240


def test_many_small_folders_still_give_the_share() -> None:
    exam = documents_of(split_pairs(pairs(200, 2), 0.2, 17).evaluation)
    assert 0.15 < len(exam) / 400 < 0.25


def test_a_new_document_moves_at_most_one_other_of_its_folder() -> None:
    before = documents_of(split_pairs(pairs(5, 20), 0.2, 17).evaluation)
    after = documents_of(split_pairs(pairs(5, 21), 0.2, 17).evaluation)
    new = {f"src/{folder}/20.md" for folder in range(5)}
    assert len(before ^ (after - new)) <= 10
    assert len(before & after) >= 15


def test_each_part_gets_a_document_however_few_there_are() -> None:
    for seed in range(20):
        split = split_pairs(pairs(1, 2), 0.2, seed)
        assert len(documents_of(split.train)) == len(documents_of(split.evaluation)) == 1


def test_refusals_are_split_one_by_one_and_never_leak() -> None:
    refusals = [
        Pair(id=f"r{number}", kind="refusal", question=f"{draw(3, str(number))}?", answer=REFUSAL, source_path="")
        for number in range(50)
    ]
    split = split_pairs([*pairs(2, 10), *refusals], 0.2, 17)
    assert len([pair for pair in split.evaluation if pair.kind == "refusal"]) in (10, 11)
    assert split.leaks == []


def test_overlap_is_the_share_of_known_eight_word_runs() -> None:
    def answer(text: str) -> Pair:
        return Pair(id="x", kind="concept", question="?", answer=text, source_path="a")

    sentence = "one two three four five six seven eight nine"
    assert ngram_overlap([answer(sentence)], [answer(sentence)]) == 1.0
    assert ngram_overlap([answer(sentence)], [answer("zero one two three four five six seven eight")]) == 0.5
    assert ngram_overlap([answer("short")], [answer("short")]) == 0.0
