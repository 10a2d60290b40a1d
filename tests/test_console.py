"""What the console shows of the package's log."""

import logging

import pytest

from objnerf.console import FOR_USER, messages_shown

LOG = logging.getLogger("objnerf.somewhere")


def test_warnings_and_messages_for_the_user_are_shown(capsys: pytest.CaptureFixture[str]):
    with messages_shown():
        LOG.info("a detail")
        LOG.info("resuming at step %d", 3, extra=FOR_USER)
        LOG.warning("a name\x1b[2J from a file")
    assert capsys.readouterr() == ("", "resuming at step 3\nwarning: a name\\x1b[2J from a file\n")


def test_one_of_several_processes_speaks(capsys: pytest.CaptureFixture[str]):
    with messages_shown(shown=False):
        LOG.warning("said by another process")
    assert capsys.readouterr() == ("", "")


def test_nothing_is_left_behind(capsys: pytest.CaptureFixture[str]):
    logger = logging.getLogger("objnerf")
    before = (logger.level, list(logger.handlers))
    with pytest.raises(ValueError, match="broken"), messages_shown():
        raise ValueError("broken")
    assert (logger.level, logger.handlers) == before
