-- A long-lived converter: one JSON request a line on stdin, one JSON reply a line on stdout.
--
-- request  {"text": AsciiDoc without includes, conditionals and attribute entries, "heading": bool}
-- reply    {"markdown": GitHub Markdown}  or  {"error": reason}
--
-- With "heading", the first paragraph is a word and a section title; the title's Markdown comes back as one line under "title".
-- Code blocks hold a placeholder (see code_blocks.py) and are always fenced, so that the caller can put the text back
-- untouched. Run by `pandoc lua`: starting pandoc once a file would cost more than reading the file.

local CODE = "^JEEVESCODE%d+X$"
local ADMONITIONS = {note = true, tip = true, important = true, warning = true, caution = true}
local READ = pandoc.ReaderOptions({})
local WRITE = pandoc.WriterOptions({wrap_text = "none", columns = 100000})
local FORMAT = "gfm-tex_math_dollars-tex_math_gfm"
local filter

-- Undoes inline_code.py.
local function unshield(text)
  return (text:gsub("\xEE\x80[\x80-\xBF]", function(char) return string.char(utf8.codepoint(char) - 0xE000) end)
    :gsub("\xEE\x81[\x80-\xBF]", function(char) return string.char(utf8.codepoint(char) - 0xE000) end))
end

local function is_code_placeholder(block)
  return (block.t == "Para" or block.t == "Plain") and #block.content == 1
    and block.content[1].t == "Str" and block.content[1].text:match(CODE) ~= nil
end

local function simple_cell(cell)
  if cell.row_span > 1 or cell.col_span > 1 or #cell.contents > 1 then return false end
  local block = cell.contents[1]
  return block == nil or ((block.t == "Para" or block.t == "Plain") and not is_code_placeholder(block))
end

local function table_rows(tbl)
  local rows = pandoc.List()
  for _, body in ipairs(tbl.bodies) do rows:extend(body.body) end
  rows:extend(tbl.foot.rows)
  return rows
end

local function label_of(tbl, column)
  local header = tbl.head.rows[1]
  local cell = header and header.cells[column]
  if cell == nil or #cell.contents == 0 then return nil end
  return pandoc.utils.blocks_to_inlines(cell.contents)
end

-- Pipe tables hold one line a cell. A table with more becomes one list item a row, each cell under its column's name.
local function table_as_list(tbl)
  local items = pandoc.List()
  for _, row in ipairs(table_rows(tbl)) do
    local item = pandoc.List()
    for column, cell in ipairs(row.cells) do
      local label = label_of(tbl, column)
      if label and #cell.contents > 0 then item:insert(pandoc.Para({pandoc.Strong(label)})) end
      item:extend(cell.contents)
    end
    if #item > 0 then items:insert(item) end
  end
  local blocks = pandoc.List()
  if #tbl.caption.long > 0 then blocks:extend(tbl.caption.long) end
  if #items > 0 then blocks:insert(pandoc.BulletList(items)) end
  return blocks
end

local function every_cell_simple(tbl)
  local rows = table_rows(tbl)
  rows:extend(tbl.head.rows)
  for _, row in ipairs(rows) do
    for _, cell in ipairs(row.cells) do
      if not simple_cell(cell) then return false end
    end
  end
  return true
end

local function one_line(inlines)
  return inlines:walk({LineBreak = function() return pandoc.Space() end, SoftBreak = function() return pandoc.Space() end})
end

local function flatten_cells(rows)
  for _, row in ipairs(rows) do
    for _, cell in ipairs(row.cells) do
      local block = cell.contents[1]
      if block then cell.contents = pandoc.Blocks({pandoc.Plain(one_line(block.content))}) end
    end
  end
  return rows
end

filter = {
  traverse = "topdown",
  Para = function(el) if is_code_placeholder(el) then return pandoc.CodeBlock(el.content[1].text, {class = "text"}) end end,
  Plain = function(el) if is_code_placeholder(el) then return pandoc.CodeBlock(el.content[1].text, {class = "text"}) end end,
  CodeBlock = function(el)
    -- Without a class, the writer would indent instead of fencing.
    return pandoc.CodeBlock(unshield(el.text), {class = el.classes[1] or "text"})
  end,
  Header = function(el) return pandoc.Header(math.min(el.level + 1, 6), el.content) end,
  Div = function(el)
    if ADMONITIONS[el.classes[1] or ""] then
      local head = el.content[1]
      local rest = pandoc.Blocks({})
      for index = 2, #el.content do rest:insert(el.content[index]) end
      local blocks = pandoc.Blocks({head})
      blocks:extend(rest:walk(filter))
      return pandoc.Div(blocks, {class = el.classes[1]}), false
    end
    if el.classes:includes("title") then
      return pandoc.Para({pandoc.Strong(pandoc.utils.blocks_to_inlines(el.content))}), false
    end
    -- What a topdown filter returns is not filtered itself, only what is inside it.
    return el.content:walk(filter), false
  end,
  Figure = function(el)
    local blocks = pandoc.Blocks(el.caption.long)
    blocks:extend(el.content)
    return blocks:walk(filter), false
  end,
  DefinitionList = function(el)
    local items = pandoc.List()
    for _, entry in ipairs(el.content) do
      local item = pandoc.List({pandoc.Para({pandoc.Strong(entry[1])})})
      for _, definition in ipairs(entry[2]) do item:extend(definition) end
      items:insert(item)
    end
    return pandoc.BulletList(items)
  end,
  Table = function(el)
    if not every_cell_simple(el) then return table_as_list(el) end
    el.head.rows = flatten_cells(el.head.rows)
    for _, body in ipairs(el.bodies) do body.body = flatten_cells(body.body) end
    -- Pipe tables have no foot: its rows are rows.
    if #el.foot.rows > 0 then
      local rows = pandoc.List(el.bodies[1] and el.bodies[1].body or {})
      rows:extend(flatten_cells(el.foot.rows))
      if el.bodies[1] then el.bodies[1].body = rows end
      el.foot = pandoc.TableFoot()
    end
    el.attr = pandoc.Attr()
    return el
  end,
  RawBlock = function(el)
    if el.format ~= "html" then return {} end
    return pandoc.read(el.text, "html", READ, {}).blocks
  end,
  RawInline = function(el)
    if el.format ~= "html" then return {} end
    return pandoc.utils.blocks_to_inlines(pandoc.read(el.text, "html", READ, {}).blocks)
  end,
  Code = function(el) return pandoc.Code(unshield(el.text)) end,
  Span = function(el) return el.content:walk(filter), false end,
  -- The reader sets typographic apostrophes and dashes; words and options are searched for as they are typed.
  Str = function(el)
    local text = unshield(el.text):gsub("\u{2019}", "'"):gsub("\u{2009}", " ")
    return pandoc.Str(text)
  end,
  -- Numbers of footnotes would repeat in each piece.
  Note = function(el)
    local inlines = pandoc.Inlines({pandoc.Space(), pandoc.Str("(")})
    inlines:extend(pandoc.utils.blocks_to_inlines(el.content:walk(filter)))
    inlines:insert(pandoc.Str(")"))
    return inlines, false
  end,
  Image = function(el)
    -- Without a text of its own, the reader calls an image "image".
    local text = pandoc.utils.stringify(el.caption)
    if text == "" or text == "image" then return {} end
    return pandoc.Image(el.caption, el.src)
  end,
  Link = function(el)
    local last = el.content[#el.content]
    -- `^` at the end of a link text asks for a new window.
    if last and last.t == "Str" then last.text = last.text:gsub("%^$", "") end
    if el.target == "" then return el.content:walk(filter), false end
    return pandoc.Link(el.content, el.target)
  end,
}

local function convert(request)
  local doc = pandoc.read(request.text, "asciidoc", READ, {})
  local reply = {}
  if request.heading then
    local first = doc.blocks[1]
    if first == nil or first.t ~= "Para" then return {error = "the section title was not read as one line"} end
    -- The first word marks the title: without it, "1. Start" would be read as a list.
    local content = one_line(first.content)
    content:remove(1)
    local title = pandoc.Pandoc({pandoc.Plain(content)}):walk(filter)
    reply.title = pandoc.write(title, FORMAT, WRITE):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
    doc.blocks:remove(1)
  end
  reply.markdown = pandoc.write(pandoc.Pandoc(doc.blocks:walk(filter)), FORMAT, WRITE)
  return reply
end

for line in io.lines() do
  local ok, reply = pcall(function() return convert(pandoc.json.decode(line, false)) end)
  if not ok then reply = {error = tostring(reply)} end
  io.stdout:write(pandoc.json.encode(reply), "\n")
  io.stdout:flush()
end
