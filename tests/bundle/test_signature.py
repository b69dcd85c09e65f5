"""Whose bundle it is: signatures, trusted keys, releases; and what each refusal says."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

import edgead
from edgead.bundle import read_bundle, read_trust
from edgead.bundle.archive import decode_archive, encode_archive
from edgead.bundle.signature import SIGNATURES_NAME, TRUSTED_VARIABLE, PublicKey, Signatures
from edgead.cli import main
from edgead.errors import BundleError, UsageError
from tests.runtime.tiny_bundle import write_tiny_bundle

pytest.importorskip("cryptography")
from edgead.bundle.signing import make_key, sign_bundle


@pytest.fixture(autouse=True)
def no_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv(TRUSTED_VARIABLE, raising=False)
    monkeypatch.setattr("edgead.bundle.signature.TRUSTED_FILE", tmp_path / "none")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.edgead")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "line.key", name="plant 2")
    return tmp_path / "line.key"


def trusted(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def contents(bundle: Path) -> dict[str, bytes]:
    return {name: bytes(data) for name, data in decode_archive(bundle.read_bytes(), origin="x").items()}


def rewritten(bundle: Path, files: dict[str, bytes]) -> None:
    bundle.write_bytes(b"".join(encode_archive(files, origin="x")))


def test_a_signed_bundle_is_opened_by_those_who_trust_its_key(bundle: Path, key: Path):
    sign_bundle(bundle, key, release=7)
    found = read_bundle(bundle, trusted=f"{key}.pub")
    assert found.origin is not None
    assert (found.origin.release, found.origin.key.name) == (7, "plant 2")
    with edgead.open(bundle, trusted=f"{key}.pub") as inspector:
        assert inspector.manifest.name == "tiny"


def test_a_private_key_is_for_its_user_alone_and_is_never_overwritten(key: Path):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        make_key(key)
    assert key.read_bytes() == before


def test_where_the_public_key_is_in_the_way_no_private_key_is_left(tmp_path: Path):
    (tmp_path / "new.key.pub").write_text("a user's")
    with pytest.raises(UsageError, match=r"new\.key\.pub"):
        make_key(tmp_path / "new.key")
    assert not (tmp_path / "new.key").exists()
    assert (tmp_path / "new.key.pub").read_text() == "a user's"


def test_signing_changes_no_other_file_of_the_bundle(bundle: Path, key: Path):
    before = contents(bundle)
    sign_bundle(bundle, key)
    after = contents(bundle)
    assert after.pop(SIGNATURES_NAME)
    assert after == before


def test_an_unsigned_bundle_is_refused_where_keys_are_trusted(bundle: Path, key: Path):
    with pytest.raises(BundleError, match="it is not signed"):
        read_bundle(bundle, trusted=f"{key}.pub")
    assert read_bundle(bundle).origin is None


def test_another_s_signature_is_refused(bundle: Path, key: Path, tmp_path: Path):
    other = make_key(tmp_path / "other.key")
    sign_bundle(bundle, tmp_path / "other.key")
    with pytest.raises(BundleError, match=f"signed by {other.fingerprint}, which .* does not name"):
        read_bundle(bundle, trusted=f"{key}.pub")


def test_a_threshold_changed_with_all_hashes_right_is_refused(bundle: Path, key: Path):
    """The hashes of a manifest do not cover the manifest: the signature does."""
    sign_bundle(bundle, key)
    files = contents(bundle)
    manifest = json.loads(files["manifest.json"])
    manifest["threshold"]["score"] = 1e9
    rewritten(bundle, {**files, "manifest.json": json.dumps(manifest).encode()})
    assert read_bundle(bundle).manifest.threshold.score == 1e9  # integrity alone does not see it
    with pytest.raises(BundleError, match="changed after it was signed"):
        read_bundle(bundle, trusted=f"{key}.pub")


def test_a_release_cannot_be_raised_without_the_key(bundle: Path, key: Path):
    sign_bundle(bundle, key, release=3)
    files = contents(bundle)
    signatures = Signatures.from_json(files[SIGNATURES_NAME], origin="x")
    forged = Signatures.of([dataclasses.replace(signatures.signatures[0], release=9)])
    rewritten(bundle, {**files, SIGNATURES_NAME: forged.to_json()})
    with pytest.raises(BundleError, match="changed after it was signed"):
        read_bundle(bundle, trusted=f"{key}.pub")


def test_an_earlier_release_is_refused_where_a_later_one_is_asked_for(
    bundle: Path, key: Path, tmp_path: Path
):
    sign_bundle(bundle, key, release=6)
    public = Path(f"{key}.pub").read_text().strip()
    keys = trusted(tmp_path / "keys", "# of plant 2", "", public, "release 7 of tiny", "release 9 of other")
    with pytest.raises(BundleError, match=r"release 6 of 'tiny'.* asks for 7"):
        read_bundle(bundle, trusted=keys)
    sign_bundle(bundle, key, release=7)
    assert read_bundle(bundle, trusted=keys).origin is not None


def test_keys_are_rotated_by_two_signatures(bundle: Path, key: Path, tmp_path: Path):
    make_key(tmp_path / "next.key")
    sign_bundle(bundle, key, release=4)
    sign_bundle(bundle, tmp_path / "next.key")
    for name in ("line.key.pub", "next.key.pub"):
        found = read_bundle(bundle, trusted=tmp_path / name)
        assert found.origin is not None
        assert found.origin.release == 4
    assert found.signatures is not None
    assert len(found.signatures.signatures) == 2


def test_the_environment_and_the_machine_set_the_policy_for_every_command(
    bundle: Path, key: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(TRUSTED_VARIABLE, f"{key}.pub")
    with pytest.raises(BundleError, match="not signed"):
        edgead.open(bundle)
    for command in ("inspect", "verify", "bench"):
        assert "not signed" in CliRunner().invoke(main, [command, str(bundle)]).output
    monkeypatch.delenv(TRUSTED_VARIABLE)
    monkeypatch.setattr("edgead.bundle.signature.TRUSTED_FILE", Path(f"{key}.pub"))
    with pytest.raises(BundleError, match="not signed"):
        edgead.open(bundle)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "no key in it"),
        (["release 7 of tiny"], "no key in it"),
        (["ssh-ed25519 AAAA"], "line 1.*found 'ssh-ed25519'"),
        (["edgead-ed25519 !!!"], "line 1"),
        (["edgead-ed25519 AAAA"], "32 bytes, not 3"),
    ],
)
def test_a_damaged_file_of_keys_is_an_error_and_never_no_policy(
    bundle: Path, tmp_path: Path, lines: list[str], reason: str
):
    with pytest.raises(UsageError, match=reason):
        read_bundle(bundle, trusted=trusted(tmp_path / "keys", *lines))


def test_a_missing_file_of_keys_is_an_error(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(TRUSTED_VARIABLE, "/nowhere/keys")
    with pytest.raises(UsageError, match="/nowhere/keys: no file of trusted keys"):
        read_bundle(bundle)


def test_a_passphrase_is_needed_where_the_key_has_one(bundle: Path, tmp_path: Path):
    make_key(tmp_path / "locked.key", passphrase=b"secret")
    for wrong in (None, b"other"):
        with pytest.raises(UsageError, match="passphrase"):
            sign_bundle(bundle, tmp_path / "locked.key", passphrase=wrong)
    sign_bundle(bundle, tmp_path / "locked.key", passphrase=b"secret")
    assert b"secret" not in (tmp_path / "locked.key").read_bytes()


def test_a_damaged_bundle_is_not_signed(bundle: Path, key: Path):
    damaged = bundle.read_bytes()[:-1]
    bundle.write_bytes(damaged)
    with pytest.raises(BundleError):
        sign_bundle(bundle, key)
    assert bundle.read_bytes() == damaged


def test_signatures_of_another_form_are_refused(bundle: Path, key: Path):
    sign_bundle(bundle, key)
    files = contents(bundle)
    for content in (b"", b"[]", b'{"schema_version": 2, "signatures": []}', b"\xff"):
        rewritten(bundle, {**files, SIGNATURES_NAME: content})
        with pytest.raises(BundleError):
            read_bundle(bundle)


def test_public_keys_of_small_order_verify_nothing(bundle: Path, key: Path):
    sign_bundle(bundle, key)
    with pytest.raises(BundleError, match="does not name"):
        read_bundle(bundle, trusted=_trust_of(PublicKey(bytes(32))))


def _trust_of(key: PublicKey):
    from edgead.bundle import Trust

    return Trust((key,))


def test_the_commands_from_key_to_verdict(bundle: Path, tmp_path: Path):
    runner, path = CliRunner(), str(tmp_path / "a.key")
    made = runner.invoke(main, ["key", "new", path, "--name", "plant 2"])
    assert made.exit_code == 0
    assert read_trust(f"{path}.pub").keys[0].line in made.output
    assert runner.invoke(main, ["sign", str(bundle), "--key", path, "--release", "3"]).exit_code == 0
    said = runner.invoke(main, ["verify", str(bundle), "--trusted", f"{path}.pub"])
    assert said.exit_code == 0, said.output
    assert "integrity: shown" in said.output
    assert "origin:    shown; release 3, signed by 'plant 2'" in said.output
    assert "answers:   shown on openvino" in said.output
    assert "origin:    not shown; signed" in runner.invoke(main, ["verify", str(bundle)]).output
    as_json = runner.invoke(main, ["verify", str(bundle), "--trusted", f"{path}.pub", "--json", "-"])
    assert json.loads(as_json.output)["origin"]["release"] == 3
