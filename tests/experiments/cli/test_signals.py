"""Whose signals they are."""

import signal
import sys
import threading
from collections.abc import Iterator

import pytest
from conftest import ROOT

from experiments.cli import entry, signals
from experiments.cli.signals import first_collected, handled, is_ours


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever happens, the handlers of before are back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def interrupted(arguments: list[str]) -> int:
    signal.raise_signal(signal.SIGINT)
    return 0


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        (["python", "experiments/run.py", "seed=1"], True),
        (["python", "-X", "dev", str(ROOT / "sweeps" / "workers" / "trial.py")], True),
        (["python", "-m", "experiments.ui"], True),
        (["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], False),
        (["python"], False),
        (["python", "-c", "from experiments import run; run.main([])"], False),
        (["python", "-m", "pytest", "tests/test_run.py"], False),
    ],
)
def test_a_process_is_ours_by_its_command(command: list[str], ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "orig_argv", command)
    assert is_ours.__wrapped__() is ours
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)  # ipython -i experiments/run.py
    assert not is_ours.__wrapped__()


def test_an_interrupt_at_the_start_leaves_a_process_of_others_alive() -> None:
    """As with `%run experiments/run.py` in a notebook, whose variables are the user's."""
    with pytest.raises(SystemExit) as ended:
        entry.run(interrupted)
    assert ended.value.code == 130


def test_there_the_second_one_is_an_exception_and_says_how_to_go_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "SAME_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), first_collected("python experiments/run.py resume=x") as caught:
        interrupted([])
        assert caught == [signal.SIGINT]
        assert capfd.readouterr().out == ""
        interrupted([])
    assert "stopped  at once\nnext     python experiments/run.py resume=x\n" in capfd.readouterr().out


def test_one_that_comes_twice_at_once_is_one() -> None:
    """A terminal sends it to a multirun and its run, and the multirun hands it on."""
    with first_collected() as caught:
        interrupted([])
        interrupted([])
    assert caught == [signal.SIGINT]


def test_what_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "is_ours", lambda: True)
    assert signal.SIGHUP in signals._to_take()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in signals._to_take()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_ends_a_process_of_others_stays_theirs() -> None:
    def theirs(*_: object) -> None:
        pass

    before = signal.getsignal(signal.SIGINT)
    with handled(theirs):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with handled(lambda *_: None):  # somebody handles Ctrl-C already
            assert signal.getsignal(signal.SIGINT) is theirs
    assert signal.getsignal(signal.SIGINT) is before


def test_programs_run_in_any_thread() -> None:
    codes: list[object] = []

    def one() -> None:
        with pytest.raises(SystemExit) as ended, first_collected():
            entry.run(lambda arguments: 0)
        codes.append(ended.value.code)

    thread = threading.Thread(target=one)
    thread.start()
    thread.join()
    assert codes == [0]
