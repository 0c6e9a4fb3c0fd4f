"""Loading models without what the libraries tell everyone who does."""

from __future__ import annotations

import logging
import warnings


class quiet_libraries(warnings.catch_warnings):  # noqa: N801 (used like a function)
    """Silences what diffusers and transformers tell everyone who loads a pipeline: missing extras, progress bars."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        import diffusers
        import transformers

        for library in (diffusers, transformers):
            library.utils.logging.set_verbosity_error()
            library.utils.logging.disable_progress_bar()
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
