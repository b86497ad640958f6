"""The picture of a graph: everything is in it, nothing lies on anything else, and it is always the same."""

from __future__ import annotations

from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from tests.docs.pages import ROOT, blocks
from tests.support.processes import run_python

from bgtasks.graph.draw import draw
from bgtasks.graph.facts import Entity, Fact
from bgtasks.graph.layout import GAP_X, GAP_Y, arranged
from bgtasks.graph.schema import KINDS

SVG = "{http://www.w3.org/2000/svg}"


def entity(name: str, kind: str = "person", summary: str = "") -> Entity:
    return Entity(f"{kind}:{name}", name, kind, summary)


ADA, BOB, PARIS = entity("Ada"), entity("Bob", summary="builds"), entity("Paris", "place")
FEW = [
    Fact(ADA, "lives_in", PARIS, "Ada lives in Paris.", 0.9),
    Fact(ADA, "knows", BOB, weight=0.3),
    Fact(BOB, "knows", ADA, weight=0.3),
    Fact(ADA, "works_with", BOB, weight=0.1),
]


def many(count: int, links: int, seed: int = 1) -> list[Fact]:
    random = Random(seed)
    ends = [
        entity(f"{'long ' * random.randrange(4)}name {number}", random.choice(KINDS))
        for number in range(count)
    ]
    hubs = ends[: count // 5 + 1]
    pairs = [(random.choice(hubs), end) for end in ends]
    pairs += [(random.choice(hubs), random.choice(ends)) for _ in range(links - count)]
    return [Fact(s, random.choice(["knows", "likes"]), o, weight=random.random()) for s, o in pairs]


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in read(svg).iter(f"{SVG}text")]


class TestWhatIsShown:
    def test_entities_facts_kinds_and_how_many_they_are(self) -> None:
        svg = draw(FEW, title="Three")

        assert {"Three", "3 entities, 4 facts", "Ada", "Bob", "Paris", "person", "place"} <= set(texts(svg))
        assert {"lives in", "knows, works with", "knows"} <= set(texts(svg))

    def test_a_pointer_that_rests_on_something_is_told_more(self) -> None:
        told = {element.text for element in read(draw(FEW)).iter(f"{SVG}title")}

        assert {"Ada lives in Paris.", "Ada knows Bob\nAda works with Bob", "Bob (person): builds"} <= told

    def test_the_heavier_the_fact_the_wider_its_line(self) -> None:
        widths = [float(path.attrib["stroke-width"]) for path in read(draw(FEW)).iter(f"{SVG}path")]

        assert widths[0] > widths[1] == widths[2]

    def test_of_too_many_the_heaviest_are_shown_and_the_rest_is_counted(self) -> None:
        svg = draw([*FEW, Fact(BOB, "saw", entity("a ghost", "other"), weight=0.01)], limit=3)

        assert "a ghost" not in texts(svg)
        assert "3 entities, 4 facts; 1 more are not shown" in texts(svg)

    def test_of_many_facts_between_a_few_the_heaviest_hundred_and_twenty_are_drawn(self) -> None:
        ends = [entity(f"name {number}") for number in range(20)]
        pairs = [(one, other) for one in ends for other in ends if one is not other]
        facts = [Fact(s, f"p{n}", o, weight=n / len(pairs)) for n, (s, o) in enumerate(pairs)]

        svg = draw(facts)

        assert "20 entities, 120 facts; 260 more are not shown" in texts(svg)
        assert {f"p{n}" for n in range(260)}.isdisjoint(texts(svg))

    def test_no_facts_are_an_empty_picture(self) -> None:
        assert "0 entities, 0 facts" in texts(draw([]))

    @pytest.mark.parametrize(
        "name", ['<b> & "q"', "a\x00b\x1f", "\ud800", "two\nlines", "日本語の名前", "🦡", "", "w" * 500]
    )
    def test_any_name_is_one_line_of_valid_svg(self, name: str) -> None:
        svg = draw([Fact(ADA, name or "p", Entity("x", name, name))])

        assert read(svg).tag == f"{SVG}svg"
        assert all("\n" not in text and len(text) <= 60 for text in texts(svg))
        assert svg.encode()

    def test_it_needs_nothing_from_elsewhere_and_runs_nothing(self) -> None:
        svg = draw(many(20, 30))

        assert {element.tag.removeprefix(SVG) for element in read(svg).iter()} <= {
            "svg", "title", "desc", "rect", "g", "path", "polygon", "text",
        }  # fmt: skip
        assert svg.count("http") == 1  # its namespace


class TestWhereItIs:
    def test_the_same_facts_in_any_order_are_the_same_picture(self) -> None:
        facts = many(30, 50)
        shuffled = facts[:]
        Random(5).shuffle(shuffled)

        assert draw(facts) == draw(shuffled)

    @pytest.mark.parametrize(("count", "links", "seed"), [(2, 2, 1), (12, 18, 2), (35, 60, 3), (60, 90, 4)])
    def test_no_box_lies_on_another_and_all_are_inside(self, count: int, links: int, seed: int) -> None:
        root = read(draw(many(count, links, seed), limit=count))
        boxes = [
            tuple(float(group[1].attrib[name]) for name in ("x", "y", "width", "height"))
            for group in root.iter(f"{SVG}g")
            if len(group) > 2 and group[1].tag == f"{SVG}rect"
        ]

        assert boxes
        for i, (x, y, width, height) in enumerate(boxes):
            assert x >= 0
            assert y >= 0
            assert x + width <= float(root.attrib["width"])
            assert y + height <= float(root.attrib["height"])
            for ox, oy, owidth, oheight in boxes[i + 1 :]:
                assert x + width <= ox or ox + owidth <= x or y + height <= oy or oy + oheight <= y

    @pytest.mark.parametrize(
        "links",
        [
            [],
            [("a", "b")],
            [("a", other) for other in "bcdefgh"],
            [(one, other) for one in "abcdef" for other in "abcdef"],
            [*zip("abcdefg", "bcdefgh", strict=True)],
            [("a", "b"), ("c", "d"), ("e", "f")],
        ],
        ids=["apart", "one link", "a star", "a clique", "a chain", "pairs"],
    )
    def test_boxes_keep_their_distance_whatever_links_them(self, links: list[tuple[str, str]]) -> None:
        sizes = {name: (60.0 + 10 * number, 30.0) for number, name in enumerate("abcdefgh")}

        placed = arranged(sizes, links)

        assert placed.keys() == sizes.keys()
        for one in sizes:
            for other in sizes:
                (x, y), (ox, oy) = placed[one], placed[other]
                wide = abs(x - ox) - (sizes[one][0] + sizes[other][0]) / 2
                high = abs(y - oy) - (sizes[one][1] + sizes[other][1]) / 2
                assert one == other or wide >= GAP_X - 0.1 or high >= GAP_Y - 0.1


@pytest.mark.full
@pytest.mark.real
def test_the_picture_in_the_documentation_is_what_its_program_draws(tmp_path: Path) -> None:
    [program] = [block for block in blocks("python") if block.page.name == "knowledge-graph.md"]
    (tmp_path / "program.py").write_text(program.code, "utf-8")

    done = run_python("program.py", cwd=tmp_path)

    drawn, kept = tmp_path / "knowledge-graph.svg", ROOT / "docs" / "images" / "knowledge-graph.svg"
    assert drawn.exists(), done.stderr
    assert drawn.read_text("utf-8") == kept.read_text("utf-8")
