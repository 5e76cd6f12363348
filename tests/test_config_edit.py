"""`init` changes a config that an operator wrote: its own keys only, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import config, config_edit
from exitpolicy.storage.config import FitChoice, Relay

PATH = Path("/etc/exitpol/config.yaml")
FOLDER, SINGLE = Path("/etc/tor/exitpol"), Path("/etc/tor/exitpol.conf")
ONE = Relay("one", Path("/etc/tor/torrc"), "/run/tor/control")
TWO = Relay("two", Path("/etc/tor/instances/two/torrc"), "/run/tor-instances/two/control")
BOTH = [f"- {config.entry(ONE)}\n", f"- {config.entry(TWO)}\n"]


def edit(text: str, **keys: object) -> str:
    """Return a config with some keys changed."""
    desired = config.parse(PATH, text.encode())._replace(**keys)  # type: ignore[arg-type]
    return config_edit.edited(PATH, text.encode(), desired).decode()


def test_what_is_missing_is_appended() -> None:
    """The operator's lines and comments stay as they are."""
    text = "# mine\nmax_prefix: {ipv4: 24}  # strict"
    done = edit(text, fragments=FOLDER, relays=(ONE, TWO), unmanaged=(Path("/etc/tor/b"),))
    assert done == (
        f'{text}\nfragments: "{FOLDER}"\nrelays:\n{"".join(BOTH)}unmanaged: ["/etc/tor/b"]\n'
    )


def test_the_folder_is_named_where_the_single_fragment_was() -> None:
    """Both keys while relays are moved, the folder alone after that."""
    text = f"# a\nfragment: {SINGLE}  # old\n# b\nrelays:\n{BOTH[0]}"
    moving = edit(text, fragments=FOLDER, former=SINGLE)
    assert moving == text.replace(
        f"fragment: {SINGLE}  # old\n", f'fragments: "{FOLDER}"\nfragment: "{SINGLE}"\n'
    )
    assert edit(moving, former=None) == moving.replace(f'fragment: "{SINGLE}"\n', "")


@pytest.mark.parametrize("indent", ["", "  "])
def test_a_new_relay_is_added_below_the_others(indent: str) -> None:
    """The entries of the others stay, whatever their form is."""
    first = f"{indent}- name: one  # first\n{indent}  torrc: /t\n{indent}  control: /c\n"
    text = f"fragments: {FOLDER}\nrelays:\n{first}# end\noperator: {{name: A}}\n"
    present = config.parse(PATH, text.encode())
    done = edit(text, relays=(*present.relays, TWO))
    assert done == text.replace("# end\n", f"{indent}{BOTH[1]}# end\n")


def test_a_list_in_brackets_is_written_anew() -> None:
    """The result means what was desired."""
    text = f"fragments: {FOLDER}\nrelays: [{{name: one, torrc: /t, control: /c}}]\n"
    present = config.parse(PATH, text.encode())
    done = edit(text, relays=(*present.relays, TWO))
    assert [relay.name for relay in config.parse(PATH, done.encode()).relays] == ["one", "two"]


def test_a_form_that_cannot_be_changed_is_an_error_with_the_lines() -> None:
    """Nothing is written then: the operator is shown what to write."""
    with pytest.raises(InvalidFileError, match="is not changed") as caught:
        edit("{ledger: /l}\n", fragments=FOLDER, relays=(ONE,))
    assert f'fragments: "{FOLDER}"\nrelays:\n{BOTH[0]}' in (caught.value.hint or "")


_PARTS = [
    "ledger: l\n",
    "# c\n",
    "\n",
    f"fragment: {SINGLE}\n",
    f"fragments: {FOLDER}\n",
    "max_prefix:\n  ipv4: 20\n",
    "protected:\n- 192.0.2.1\n",
    "operator: {name: A}\n",
    f"relays:\n{BOTH[0]}",
    f"relays:\n  {BOTH[0]}",
    "unmanaged: [/a]\n",
    "unmanaged:\n- /a\n",
]


@given(st.lists(st.sampled_from(_PARTS), unique_by=lambda part: part[:6], max_size=7))
def test_any_form_of_the_keys_means_what_was_desired(parts: list[str]) -> None:
    """Comments and other keys stay, in their order."""
    text = "".join(parts)
    present = config.parse(PATH, text.encode())
    relays = (*present.relays, TWO) if present.relays else (ONE, TWO)
    desired = present._replace(fragments=FOLDER, former=SINGLE, relays=relays, unmanaged=())
    done = config_edit.edited(PATH, text.encode(), desired).decode()
    assert config.parse(PATH, done.encode()) == config.parse(PATH, config.render(desired))
    kept = [part for part in parts if not part.startswith(("frag", "rel", "unm"))]
    assert [part for part in kept if part in done] == kept


def test_a_config_that_says_it_all_is_not_changed() -> None:
    """Not a byte."""
    text = f"# x\nfragments:   {FOLDER}\nrelays:\n- {{name: one, torrc: /t, control: /c}}\n"
    assert edit(text) == text
    assert edit("", fragments=FOLDER) == f'fragments: "{FOLDER}"\n'


def test_a_choice_of_what_fits_is_written_changed_and_taken_out() -> None:
    """`exitpol fit --use` changes its own line alone."""
    text = f"# mine\nfragments: {FOLDER}\n"
    done = edit(text, fit=FitChoice.LEAVE_OUT)
    assert done == f"{text}fit: leave-out\n"
    assert edit(done, fit=FitChoice.OVER_BLOCK) == f"{text}fit: over-block\n"
    assert edit(done, fit=FitChoice.REFUSE) == text
