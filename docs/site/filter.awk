# What Doxygen is shown of a file; lines keep their numbers.
#   pages     links to a heading become links to the page: Doxygen names headings in its own way
#   headers   the inline namespace is left out
#             the comment that a header begins with becomes the page of the file; its indented lines, formulas, stay as they are
#             in other comments, indented lines are a list, or below an empty line a formula
#             what stands behind a member, its shape above all, becomes its description

# Outside of backticks, what Doxygen would take for tags and commands is text.
function plain(text,    part, n, i) {
  n = split(text, part, "`")
  text = ""
  for (i = 1; i <= n; ++i) {
    if (i % 2 == 1) {
      gsub(/&/, "\\&amp;", part[i])
      gsub(/</, "\\&lt;", part[i])
      gsub(/[@\\#]/, "\\\\&", part[i])
    }
    text = text (i > 1 ? "`" : "") part[i]
  }
  return text
}

FILENAME ~ /\.md$/ {
  gsub(/\.md#[a-z0-9-]+\)/, ".md)")
  while (match($0, /\[[^]]*\]\(#[a-z0-9-]+\)/)) {  # to a heading of the same page: its text
    link = substr($0, RSTART + 1, RLENGTH - 1)
    $0 = substr($0, 1, RSTART - 1) substr(link, 1, index(link, "]") - 1) substr($0, RSTART + RLENGTH)
  }
  print
  next
}
FNR == 1 {
  opening = 1
}
opening && /^\/\// {
  text = substr($0, 3)
  print "///" (text ~ /^   / ? "    " text : plain(text))
  next
}
opening {
  opening = 0
  if (/^#pragma once/) {
    print "/// @file"
    next
  }
}
{
  sub(/heed::inline HEED_ABI/, "heed")
}
match($0, /; +\/\/ /) || (behind && match($0, /^ +\/\/ /)) {
  behind = 1
  at = index($0, "//")
  print substr($0, 1, at - 1) "///<" plain(substr($0, at + 2))
  next
}
match($0, /^ *\/\/\/( |$)/) {
  behind = 0
  margin = substr($0, 1, RLENGTH)
  text = substr($0, RLENGTH + 1)
  match(text, /^ */)
  if (text == "") {
    form = "formula"
  } else if (RLENGTH < 2) {
    form = "list"
    indent = 0
  } else if (form == "formula") {
    text = "    " text
  } else if (indent == 0 || RLENGTH <= indent) {
    indent = RLENGTH
    text = "- " substr(text, RLENGTH + 1)
  }
  print margin text
  next
}
{
  behind = 0
  form = "list"
  indent = 0
  print
}
