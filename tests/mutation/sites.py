"""Finds what can be mutated in a header, by its tokens.

The headers are formatted by clang-format, and that decides what a token alone leaves open: an operator with two operands
stands between spaces, while a unary one, a reference and a template's angle bracket cling to a neighbour.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<directive>\#[^\n]*)
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<number>(?:0[xX][0-9a-fA-F']+|0[bB][01']+|\d[\d']*)(?P<suffix>[uUlLzZ]*))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<mark><=>|<<=|>>=|\.\.\.|->\*|::|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|\*=|/=|%=|&=|\|=|\^=|.)""",
    re.VERBOSE | re.DOTALL)

PRECEDENCE = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "<=>": 7, "<": 6, "<=": 6, ">": 6, ">=": 6,
              "==": 5, "!=": 5, "&": 4, "^": 3, "|": 2, "&&": 1, "||": 0}
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}
SWAPS = {"==": ["!="], "!=": ["=="], "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"],
         "&&": ["||"], "||": ["&&"], "&": ["|"], "|": ["&"], "^": ["|"], "<<": [">>"], ">>": ["<<"], "+": ["-"], "-": ["+"],
         "+=": ["-="], "-=": ["+="], "|=": ["&="], "&=": ["|="], "<<=": [">>="], ">>=": ["<<="]}
BITS = {"&", "|", "^"}        # also mutated to the left operand alone
CONDITIONS = {"&&", "||"}     # also mutated to the left and to the right one
STOPS = {";", ",", "?", ":", "return", "else", "do", "case", "throw", "co_return", "default"}
HEADS = {"if", "while", "for", "switch"}
PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}


@dataclass
class Token:
    kind: str
    text: str
    start: int
    end: int
    spaced: bool = False         # white space before and after
    partner: int | None = None   # the other bracket
    up: int | None = None        # the bracket that it stands in
    binary: bool = False


@dataclass
class Site:
    start: int
    end: int
    mutations: list[tuple[str, str]] = field(default_factory=list)  # what the report calls it; the text in its place


class Header:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[Token] = []
        for m in TOKEN.finditer(text):
            if m.lastgroup == "skip" or m.group("skip"):
                continue
            kind = next(k for k in ("directive", "text", "number", "name", "mark") if m.group(k))
            if kind == "directive":
                continue
            self.tokens.append(Token(kind, m.group(0), m.start(), m.end()))
        for t in self.tokens:
            t.spaced = text[t.start - 1].isspace() and text[t.end].isspace()
        self.skipped = [False] * len(self.tokens)
        self.match()
        self.leave_out()

    def match(self) -> None:
        stack: list[int] = []
        i = 0
        while i < len(self.tokens):
            t = self.tokens[i]
            t.up = stack[-1] if stack else None
            before = self.tokens[i - 1].text if i else ""
            opens = t.text in "([{" or (t.text == "<" and (before == "template" or not t.spaced) and before != "operator")
            if t.text == ">>" and sum(self.tokens[s].text == "<" for s in stack[-2:]) == 2:
                # two closing angle brackets
                self.tokens[i:i + 1] = [Token("mark", ">", t.start, t.start + 1), Token("mark", ">", t.start + 1, t.end)]
                self.skipped.append(False)
                continue
            if t.kind == "mark" and opens and len(t.text) == 1:
                stack.append(i)
            elif t.kind == "mark" and (t.text in ")]}" and len(t.text) == 1
                                       or (t.text == ">" and stack and self.tokens[stack[-1]].text == "<")):
                o = stack.pop()
                if PAIRS[self.tokens[o].text] != t.text:
                    raise ValueError(f"brackets do not match at {self.line(t.start)}")
                t.partner, self.tokens[o].partner = o, i
                t.up = self.tokens[o].up
            elif t.kind == "mark" and t.spaced and t.text in PRECEDENCE and before not in ("operator", "...") \
                    and self.tokens[i + 1].text != "...":
                t.binary = True
            i += 1

    # Templates' parameter lists, concepts, requirements, assertions and attributes decide nothing that a walk does.
    def leave_out(self) -> None:
        i = 0
        while i < len(self.tokens):
            t = self.tokens[i]
            end = None
            following = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
            if t.text == "template" and following and following.text == "<":
                end = following.partner
            elif t.text in ("static_assert", "concept"):
                end = i
                while self.tokens[end].text != ";":
                    end = self.tokens[end].partner or end
                    end += 1
            elif t.text == "requires":
                # to the end of the line, or of the brackets that it opens
                stop = self.text.find("\n", t.start)
                end = i
                while end + 1 < len(self.tokens) and self.tokens[end + 1].start < stop and self.tokens[end + 1].text not in "{;":
                    end += 1
                    if self.tokens[end].partner and self.tokens[end].partner > end:
                        end = self.tokens[end].partner
                        stop = max(stop, self.text.find("\n", self.tokens[end].start))
                if t.up is not None and following and following.text in ("{", "(") and end == i:
                    end = following.partner
            elif t.text == "[" and following and following.text == "[":
                end = t.partner
            elif t.text == "if" and following and following.text == "constexpr":
                end = self.tokens[i + 2].partner
            if end is not None:
                for k in range(i, end + 1):
                    self.skipped[k] = True
                i = end
            i += 1

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def is_block(self, closing: int) -> bool:
        t = self.tokens[closing]
        inside = range(t.partner + 1, closing)
        if any(self.tokens[k].text == ";" and self.tokens[k].up == t.partner for k in inside):
            return True
        before = self.tokens[t.partner - 1].text
        return not inside and before in (")", "const", "noexcept")

    # The first token of the operand that ends before token i, for an operator of that precedence.
    def left(self, i: int, precedence: int) -> int:
        k = i
        while True:
            previous = k - 1
            t = self.tokens[previous]
            if previous < 0 or previous == self.tokens[i].up or t.text in STOPS or t.text in ASSIGNMENTS:
                break
            if t.binary and PRECEDENCE[t.text] < precedence:
                break
            if t.kind == "mark" and t.partner is not None and t.partner < previous:
                if t.text == "}" and self.is_block(previous):
                    break
                before = self.tokens[t.partner - 1].text
                if t.text == ")" and (before in HEADS or before == "constexpr"):
                    break
                previous = t.partner
            k = previous
        return k

    # The last token of the operand that begins after token i.
    def right(self, i: int, precedence: int) -> int:
        k = i
        while k + 1 < len(self.tokens):
            following = k + 1
            t = self.tokens[following]
            if t.partner is not None and t.partner < following:
                break
            if precedence < 0:  # what is assigned may be a choice, or an assignment
                if t.text in (";", ","):
                    break
            elif t.text in STOPS or t.text in ASSIGNMENTS or (t.binary and PRECEDENCE[t.text] <= precedence):
                break
            if t.partner is not None:
                following = t.partner
                if t.text == "{" and self.is_block(following):
                    # a lambda's body belongs to the operand, a statement's does not
                    if not any(self.tokens[x].text == "[" for x in range(i, k)):
                        break
            k = following
        return k

    def slice(self, first: int, last: int) -> str:
        return self.text[self.tokens[first].start:self.tokens[last].end]

    def sites(self) -> list[Site]:
        found: list[Site] = []
        for i, t in enumerate(self.tokens):
            if self.skipped[i]:
                continue
            before = self.tokens[i - 1].text if i else ""
            if t.kind == "number":
                found += self.number(t)
            elif t.text in ("true", "false"):
                other = "false" if t.text == "true" else "true"
                found.append(Site(t.start, t.end, [(f"{t.text} -> {other}", other)]))
            elif t.text in ("!", "~") and not t.spaced and before != "operator":
                last = self.right(i, 11)
                operand = self.slice(i + 1, last)
                operand = f"static_cast<bool>({operand})" if t.text == "!" else operand
                found.append(Site(t.start, self.tokens[last].end, [(f"{t.text} dropped", operand)]))
            elif (t.binary or (t.text in ASSIGNMENTS and t.spaced)) and t.text in SWAPS:
                found += self.operator(i, t)
        return found

    def number(self, t: Token) -> list[Site]:
        suffix = re.search(r"[uUlLzZ]*$", t.text)[0]
        digits = t.text[:len(t.text) - len(suffix)].replace("'", "")
        value = int(digits, 0) if digits.startswith(("0x", "0X", "0b", "0B")) else int(digits)
        hexadecimal = digits.lower().startswith("0x")
        others = [value + 1] + ([value - 1] if value > 0 else []) + ([0] if value > 1 else [])
        mutations = []
        for other in others:
            text = (hex(other) if hexadecimal else str(other)) + suffix
            if other < 1 << 64:
                mutations.append((f"{t.text} -> {text}", text))
        return [Site(t.start, t.end, mutations)]

    def operator(self, i: int, t: Token) -> list[Site]:
        assigns = t.text in ASSIGNMENTS
        precedence = -1 if assigns else PRECEDENCE[t.text]
        first, last = self.left(i, precedence), self.right(i, precedence)
        if first >= i or last <= i or any(self.skipped[first:last + 1]):
            return []
        left, right = self.slice(first, i - 1), self.slice(i + 1, last)
        mutations = [(f"{t.text} -> {o}", f"{left} {o} {right}") for o in SWAPS[t.text]]
        if t.text in BITS:
            mutations.append((f"{t.text} -> left", left))
        if t.text in CONDITIONS:
            mutations += [(f"{t.text} -> left", f"static_cast<bool>({left})"),
                          (f"{t.text} -> right", f"static_cast<bool>({right})")]
        if t.text in ("<<", ">>") and self.tokens[i + 1].kind != "number":
            mutations += [(f"{t.text} by {c} 1", f"{left} {t.text} (({right}) {c} 1)") for c in "+-"]
        return [Site(self.tokens[first].start, self.tokens[last].end, mutations)]
