from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.network.template import render_template
from cri.network.template_functions import TemplateError, Value

VALUES: dict[str, Value] = {
    "PodCIDR": "10.0.0.0/24",
    "PodCIDRRanges": ["10.0.0.0/24", "fd00::/64"],
    "Routes": ["0.0.0.0/0", "::/0"],
}


def rendered(text: str) -> str:
    return render_template(text, VALUES)


def test_the_documented_dual_stack_template() -> None:
    text = """{"ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
    "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]}"""
    assert json.loads(rendered(text)) == {
        "ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("plain", "plain"),
        ("{{.PodCIDR}}", "10.0.0.0/24"),
        ("a {{- .PodCIDR -}} b", "a10.0.0.0/24b"),
        ("a{{/* a comment with }} */}}b", "ab"),
        ("a {{- /* trimmed */ -}} b", "ab"),
        ('{{"a \\"b\\"\\n"}}', 'a "b"\n'),
        ("{{`raw }} text`}}", "raw }} text"),
        ("{{range .Routes}}<{{.}}>{{end}}", "<0.0.0.0/0><::/0>"),
        (
            "{{range $r := .Routes}}{{$r}} of {{$.PodCIDR}};{{end}}",
            "0.0.0.0/0 of 10.0.0.0/24;::/0 of 10.0.0.0/24;",
        ),
        ("{{with .PodCIDR}}{{.}}{{else}}none{{end}}", "10.0.0.0/24"),
        ('{{with ""}}x{{else}}none{{end}}', "none"),
        ("{{if eq (len .Routes) 2}}two{{else if .PodCIDR}}one{{else}}none{{end}}", "two"),
        ("{{if eq (len .Routes) 1}}x{{else if .PodCIDR}}one{{else}}none{{end}}", "one"),
        ("{{if gt (len .Routes) 2}}x{{else}}none{{end}}", "none"),
        ("{{$x := index .Routes 1}}{{$x}}{{if true}}{{$x := 3}}{{$x}}{{end}}{{$x}}", "::/03::/0"),
        ('{{.PodCIDR | printf "%s and %q" "a"}}', 'a and "10.0.0.0/24"'),
        (
            "{{and 1 0}} {{or 0 2}} {{not 0}} {{ne 1 2}} {{le 1 1}} {{ge 1 2}} {{lt 1 2}}",
            "0 2 true true true false true",
        ),
        ("{{.Routes}}", "[0.0.0.0/0 ::/0]"),
        ('{{print "a" 1}}', "a1"),
    ],
)
def test_what_is_offered(text: str, output: str) -> None:
    assert rendered(text) == output


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\nb {{.Missing}}", "line 2: there is no .Missing here; there are .PodCIDR"),
        ("{{if .PodCIDR}}", "without {{end}}"),
        ("{{end}}", "without a beginning"),
        ("{{if 1}}{{else}}{{else}}{{end}}", "a second {{else}}"),
        ('{{define "x"}}{{end}}', "'define' is not available"),
        ("{{.PodCIDR", "cannot read"),
        ("{{if}}{{end}}", "a value is missing"),
        ("{{$x = 1}}", "unexpected '='"),
        ("{{$x}}", "there is no variable $x"),
        ("{{range .PodCIDR}}{{end}}", "not a list"),
        ("{{index .Routes 7}}", "outside of a list of 2"),
        ("{{len 3}}", "neither a list"),
        ("{{eq 1 .PodCIDR}}", "cannot compare"),
        ('{{printf "%x" 1}}', "%x"),
        ("{{.}}", "cannot be printed"),
        ("{{.PodCIDR | .Routes}}", "cannot be piped"),
        ("{{(.PodCIDR}}", "')' is missing"),
        ("{{$a, $b := .Routes}}", "only range"),
        ("{{not}}", "needs 1 arguments"),
        ("{{not 1 2}}", "cannot take 2"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as caught:
        rendered(text)
    assert reason in str(caught.value)


def test_absurd_nesting_is_refused() -> None:
    with pytest.raises(TemplateError):
        rendered("{{if 1}}" * 5000 + "{{end}}" * 5000)


pieces = [
    "{{",
    "}}",
    "{{if ",
    "{{end}}",
    "{{else}}",
    "{{range ",
    ".PodCIDR",
    ".Routes",
    "$x",
    ":=",
    '"',
    "|",
    "(",
    ")",
    "-",
    " ",
    "x",
    "1",
    "len ",
    "index ",
    "/*",
    "*/",
    "`",
]


@given(st.lists(st.sampled_from(pieces), max_size=12).map("".join))
def test_any_text_renders_or_is_a_template_error(text: str) -> None:
    try:
        rendered(text)
    except TemplateError:
        pass
