"""The user's files that a run reads: what they held when it began, and whether they still do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..config import RunConfig
from ..data.corpus import corpus_files
from ..data.formats import files_of
from ..errors import InputError
from ..files import known_sha256


def extension_files(config: RunConfig) -> list[str]:
    """The extensions of a run that are .py files; modules that are installed have a name alone."""
    return [name for name in config.extensions if name.endswith(".py")]


class Sources:
    """The files of the task's data, of the general corpus, of given models and of extensions, by their SHA-256.

    Files that are not there are left to preflight.
    """

    def __init__(self, config: RunConfig):
        self.config, self.sums = config, self._sums(config)  # by path

    def require_unchanged(self) -> None:
        """Raises InputError if a file is another one than when the run began.

        A file whose size and time of change are the same is not read again.
        """
        now = self._sums(self.config)
        changed = sorted(path for path in {*now, *self.sums} if now.get(path) != self.sums.get(path))
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            remedy = "run the same command again: what was made from it is made again; or put the old content back"
            raise InputError(f"the file was changed while the run was at work{more}", changed[0], remedy)

    @staticmethod
    def _sums(config: RunConfig) -> dict[str, str]:
        data, teacher, named = config.data, config.teacher, list[str | None](extension_files(config))
        if data.source == "files":
            for split in (data.train, data.dev, data.test, data.unlabelled, *data.more_tests.values()):
                with suppress(InputError):  # preflight says so
                    named += [str(file) for file in files_of(split or ())]
        if config.augmentation is not None:
            named.append(config.augmentation.word_vectors)
        if teacher is not None:
            named += [teacher.model, teacher.pretrain.vocab_file if teacher.pretrain else None]
        for start in (run.student.init for run in config.each_student.values()):
            named += [start.folder, start.vocabulary.file if start.vocabulary else None]
        files: list[Path] = []
        for path in (Path(name) for name in named if name is not None):
            files += [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
        pruning = config.export.prune_vocabulary
        texts = [config.general_corpus.path] if config.general_corpus is not None else []
        for path in (*texts, *((pruning.corpus or ()) if pruning is not None else ())):
            with suppress(InputError):
                files += corpus_files(path)
        return {str(file): known_sha256(file) for file in files if file.is_file()}
