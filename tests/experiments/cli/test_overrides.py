"""What is typed, before it is a setting: texts, ranges, stray characters."""

from pathlib import Path

import pytest

from experiments.cli.compose import GROUPS, compose_config
from experiments.cli.overrides import clean_ranges, expand_sweep, parse, quote, quote_texts
from experiments.settings.rules import text_keys
from experiments.settings.schema import Config
from gan.errors import ConfigError

NUMBERS = ["83e2010", "1e3", "2026.10", "0012", "1_000", "0x10", "true", "inf", "nan", "2026-10-01", "5", "1.50"]


def as_typed(*overrides: str, multirun: bool = False) -> list[str]:
    return quote_texts(list(overrides), text_keys(Config), GROUPS, multirun)


def config(*overrides: str) -> Config:
    return compose_config(as_typed(*overrides))


@pytest.mark.parametrize(
    "path", ["~/boats", "/a=b/c,d", "/x [y]/(z)", "it's", "/plain", "/two words", "a\\b", "'/quoted, already'"]
)
def test_paths_are_taken_as_they_are_typed(path: str) -> None:
    taken = config(f"data.path={path}").data.path
    assert taken == (path.strip("'") if path.startswith("'") else path)


def test_paths_of_a_multirun_may_still_be_swept() -> None:
    assert as_typed("data.path=a,b", multirun=True) == ["data.path=a,b"]
    assert as_typed("data.path=a,b") == ["data.path='a,b'"]
    assert as_typed("data.path=choice(1e3,x)", multirun=True) == ["data.path=choice('1e3',x)"]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_name_is_a_text_whatever_it_looks_like(name: str) -> None:
    (typed,) = as_typed(f"name={name}")
    (parsed,) = parse([typed])
    assert parsed.value() == name
    assert as_typed(typed) == [typed]  # nothing is quoted twice
    jobs = expand_sweep(as_typed(f"name={name},b", multirun=True))
    assert [parse(job)[0].get_value_element_as_str().strip("'") for job in jobs] == [name, "b"]


def test_names_and_presets_that_look_like_numbers_reach_the_settings(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "2026.10.yaml").write_text("# @package _global_\nmodel: {dropout: 0.4}\n")
    taken = compose_config(as_typed("experiment=2026.10", "name=83e2010"), str(tmp_path))
    assert (taken.model.dropout, taken.name) == (0.4, "83e2010")


def test_numbers_and_choices_that_are_no_texts_stay_what_they_are() -> None:
    for text in ("seed=1e3", "data.class_id=8", "train.loss=bce", "data=embedded", "name=boat", "name=null"):
        assert as_typed(text) == [text]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("name=None", r"name must be letters.*got 'None' \(write null for none\)"),
        ("data.path=None", r"data\.path must be absent or not empty; got 'None' \(write null for none\)"),
        (
            "train.threads=None",
            r"train\.threads must be an integer, in \[1, 4096\]; got 'None' \(write null for none\)",
        ),
        ("model.generator.bn_momentum=None", "write null for none"),
        ("name=\u8239", r"name must be letters a to z.*'\u8239' is U\+8239 CJK UNIFIED IDEOGRAPH-8239\)"),
        ("name=boat\r", r"got 'boat\\r' \('\\r' is U\+000D CARRIAGE RETURN, as in a file with Windows line ends"),
        ("records.root=out\r", r"records\.root must be text without .* got 'out\\r' .*CARRIAGE RETURN"),
        ("records.root=out\u00a0", r"U\+00A0 NO-BREAK SPACE, in the place of ' '"),
        ("data.path=\u201c/x\u201d", r"U\+201C LEFT DOUBLE QUOTATION MARK, in the place of"),
        ("train.steps=20\r", r"key=value in plain characters; got 'train\.steps=20\\r' .*CARRIAGE RETURN"),
        ("\r", "CARRIAGE RETURN"),
        ("data={source:folder,class_id:'1e3\r'}", r"data\.class_id must be text without .*CARRIAGE RETURN"),
        ("model.dropout=\u22120.5", r"U\+2212 MINUS SIGN, in the place of '-'"),
        ("\u2014multirun", r"U\+2014 EM DASH, in the place of '-'"),
        ("train.loss=\u2018hinge\u2019", r"U\+2018 LEFT SINGLE QUOTATION MARK"),
        ("train.steps=20\u00a0", r"U\+00A0 NO-BREAK SPACE, in the place of ' '"),
        ("train.steps\uff1d20", r"U\+FF1D FULLWIDTH EQUALS SIGN, in the place of '='"),
        ("train.steps=20\u200b", r"U\+200B ZERO WIDTH SPACE"),
    ],
)
def test_the_stray_character_or_word_is_named(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config(word)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["/b\u00f6te/\u8239", "/Screenshot 5\u202fPM.png", "/\u201ca\u201d\u2013b", "/\udce9"])
def test_paths_with_other_letters_are_fine(path: str) -> None:
    assert config(f"data.path={path}").data.path == path


def test_backslashes_are_shown_and_taken_once() -> None:
    assert str(ConfigError("out", "new", r"C:\boats")).endswith(r"got 'C:\boats'")
    for text in (r"C:\boats", "\\\\server\\x", "end\\", "it's", "\\'", "two words"):
        (taken,) = parse([f"data.path={quote(text)}"])
        assert taken.value() == text
        assert config(f"data.path={text}").data.path == config(*as_typed(f"data.path={text}")).data.path == text


def test_ranges_of_a_multirun_are_decimals_and_counted_first() -> None:
    sweeps = ["model.dropout=range(0,0.35,0.1)", "seed=range(5,0,-2)", "data.class_id=shuffle(range(0,0.4,0.2))"]
    assert clean_ranges(sweeps) == ["model.dropout=0.0,0.1,0.2,0.3", "seed=5,3,1", "data.class_id=shuffle(0.0,0.2)"]
    for sweep in ("seed=range(0,1e9)", "model.dropout=range(0,0.3,1e-9)"):
        with pytest.raises(ConfigError, match="the sweep must be of at most 1,000 runs"):
            expand_sweep(clean_ranges([sweep]))
    for sweep in ("seed=range(0,5,0)", "model.dropout=range(0,inf,0.1)"):
        with pytest.raises(ConfigError, match="a range must be of finite numbers with a step other than 0"):
            clean_ranges([sweep])


@pytest.mark.parametrize("values", ["choice(1e-4,NULL)", "choice(Null,1e-4)", "null,1e-4", "NULL,1e-4"])
def test_null_is_a_choice_however_it_is_written(values: str) -> None:
    jobs = expand_sweep([f"optim.generator_learning_rate={values}"])
    assert {job[0].partition("=")[2] for job in jobs} == {"null", "0.0001"}


@pytest.mark.parametrize("values", ["shuffle(null,1)", "sort(1,NULL)", "shuffle(Null)"])
def test_functions_that_take_no_null_say_so(values: str) -> None:
    with pytest.raises(ConfigError, match=r"without null in shuffle\(\) and sort\(\); got .*\(key=null,1,2 takes it"):
        parse([f"optim.generator_learning_rate={values}"])


@pytest.mark.parametrize(
    "text", ["costs ${seed}", "${oc.env:HOME}/x", "pays ${much}", r"a\${x}", r"a\\${x}", "$HOME ${"]
)
def test_a_text_with_an_interpolation_is_taken_as_it_is_typed(text: str) -> None:
    for _ in range(2):  # as a multirun does, and its run again
        (argument,) = quote_texts([f"note={text}"], ["note"])
        assert compose_config([argument]).note == text
        (argument,) = quote_texts([argument], ["note"])
        assert compose_config([argument]).note == text
