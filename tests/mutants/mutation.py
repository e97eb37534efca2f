"""A mutation: one line of palate made wrong, and the tests that must notice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "mutants" / "listed.txt"
PAGE = ROOT / "docs" / "mutants.md"

LAYERS = {
    "N": "probabilities sum to one, and the sampler draws what the scorer scores",
    "G": "gradients against enumeration",
    "C": "training reaches a closed form",
    "I": "invariances: padding, company, order, micro-batches, adapters",
    "D": "determinism and resuming",
    "U": "values worked out by hand",
    "M": "metrics mean what they say",
    "S": "intervals, calibration and ratings",
}
"""Layers of tests: what one is blind to, another sees."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """`before`, which stands exactly once in a file of the package, becomes `after`.

    `tests`, paths or node ids, are those of the layer that must fail.
    """

    what: str
    file: str
    before: str
    after: str
    layer: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file, relative to the repository."""
        return Path("palate", self.file)

    def apply(self, root: Path) -> None:
        """Mutate the package under a root."""
        file = root / self.path
        source = file.read_text(encoding="utf-8")
        found = source.count(self.before)
        if found != 1:
            raise ValueError(f"{self.what}: {self.before!r} stands {found} times in {self.path}")
        file.write_text(source.replace(self.before, self.after), encoding="utf-8")


def listed() -> Iterator[Mutation]:
    """The mutations of `listed.txt`, whose first paragraph says how to read it."""
    file, layer, tests = "", "", ()
    for block in LIST.read_text(encoding="utf-8").strip().split("\n\n")[1:]:
        head, *lines = block.splitlines()
        match head.split():
            case ["#", file]:
                pass
            case ["##", layer, *tests]:
                pass
            case _:
                before, after = (
                    "\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in "-+"
                )
                yield Mutation(head, file, before, after, layer, tuple(tests))


MUTATIONS = tuple(listed())


def page(mutations: Sequence[Mutation], failures: Sequence[str]) -> str:
    """`docs/mutants.md`: every mutation, and the first test that failed on it."""
    lines = [
        "# mutants",
        "",
        "A test suite is as good as the mistakes it notices. `make mutants` makes palate wrong in",
        f"{len(mutations)} ways, one at a time and in a copy, most of them mistakes that were once",
        "found in an RLHF library, and runs the tests of the layer that should notice.",
        f"**{sum(map(bool, failures))} of {len(failures)} are killed.** This page is its output.",
        "",
        "| layer | what its tests are about | killed |",
        "|---|---|---|",
    ]
    for layer, about in LAYERS.items():
        own = [failed for m, failed in zip(mutations, failures, strict=True) if m.layer == layer]
        lines.append(f"| {layer} | {about} | {sum(map(bool, own))} of {len(own)} |")
    lines += ["", "| mutation | file | layer | the first test that fails |", "|---|---|---|---|"]
    for mutation, failed in zip(mutations, failures, strict=True):
        test = f"`{failed.removeprefix('tests/')}`" if failed else "**survives**"
        lines.append(f"| {mutation.what} | `{mutation.file}` | {mutation.layer} | {test} |")
    return "\n".join([*lines, ""])
