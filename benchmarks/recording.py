"""What the scripts share that fill a machine's record: their options, the corpus, where the record is, the page."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import report

SMOKE_CONTEXT = 47


def parser(about: str | None) -> argparse.ArgumentParser:
    """With the options that all have."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", help="prepared folder; by default built-in stories are prepared in a temporary one")
    parser.add_argument("--machine", default="", help="its name, in place of the one found")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that it works")
    return parser


def add_records(parser: argparse.ArgumentParser) -> None:
    """The options of scripts that add to the records of the page."""
    parser.add_argument("--records", type=Path, default=report.RECORDS, help="folder of the records")
    parser.add_argument("--again", action="store_true", help="measure what is recorded already")


def corpus(options: argparse.Namespace, folder: Path) -> str:
    """The prepared corpus that was given, or built-in stories, prepared in `folder`."""
    if options.data:
        return options.data
    from frailt.data.prepare import PrepareConfig, prepare  # here so that --help needs none of it

    stories, vocab_size = (150, 330) if options.smoke else (4000, 512)
    prepare(PrepareConfig(source="builtin", stories=stories, vocab_size=vocab_size, out=str(folder / "data")))
    return str(folder / "data")


class Recording:
    """The record of this machine, to add to.

    Args:
        script: whose record.
        options: of its call.
        folder: for what is gone in the end.
    """

    def __init__(self, script: str, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        new = report.new_record(options.machine, "cpu", options.threads)
        self.path = report.record_path(options.records, script, new)
        self.record = report.load(self.path) or new

    @cached_property
    def data(self) -> str:
        """The corpus, prepared when it is first asked for."""
        return corpus(self.options, self.folder)

    def save(self) -> None:
        """After every measurement, so that the same command goes on after it."""
        report.save(self.path, self.record)


@contextmanager
def recording(script: str, options: argparse.Namespace) -> Iterator[Recording]:
    """A record to fill; in the end the page is written, or with --smoke only printed, and nothing is left."""
    with tempfile.TemporaryDirectory() as folder:
        if options.smoke:
            options.context, options.records = SMOKE_CONTEXT, Path(folder, "records")
        found = Recording(script, options, Path(folder))
        yield found
        if options.smoke:
            print(report.render([found.record]))
        else:
            report.write_page(records=options.records)
            print(f"{found.path} and {report.PAGE}")
