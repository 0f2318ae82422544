"""What the routes share; put together once, by `jeeves_gateway.app`."""

from dataclasses import dataclass

from jeeves_gateway.admission import Admission
from jeeves_gateway.answering import Answerer
from jeeves_gateway.budgets import Budgets, BudgetStore
from jeeves_gateway.conversations import Conversations
from jeeves_gateway.diagnosis.builds import BuildLogs
from jeeves_gateway.features import FeatureSwitches
from jeeves_gateway.feedback import Feedback, RecentAnswers
from jeeves_gateway.keys import Doorkeeper
from jeeves_gateway.ladder import Ladder
from jeeves_gateway.limits import RequestLimits
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.retraining import RetrainingWatch
from jeeves_gateway.retrieval import Library
from jeeves_gateway.serving import ModelRoom
from jeeves_gateway.switches import RungSwitch
from jeeves_gateway.upstream import Upstream
from jeeves_gateway.write_behind import WriteBehind


@dataclass(frozen=True, slots=True)
class Parts:
    """The gateway's parts."""

    record: GatewayRecord
    behind: WriteBehind
    doorkeeper: Doorkeeper
    limits: RequestLimits
    library: Library
    room: ModelRoom
    admission: Admission
    ladder: Ladder
    switch: RungSwitch
    answerer: Answerer
    upstream: Upstream
    build_logs: BuildLogs
    conversations: Conversations
    feedback: Feedback
    recent: RecentAnswers
    retraining: RetrainingWatch
    history_exchanges: int
    budgets: Budgets
    budget_store: BudgetStore
    features: FeatureSwitches
    metrics: GatewayMetrics
    started_at: int
