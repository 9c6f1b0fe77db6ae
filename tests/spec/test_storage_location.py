"""Paths and buckets as places of ledgers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.open_store import open_store
from gga_sweep.spec.location import S3Location, as_location


@pytest.mark.parametrize("given", ["results", "/data/results", "a/~/results", "s3:/x", "a:b", ""])
def test_what_is_no_address_is_a_path(given: str) -> None:
    assert as_location(given) == as_location(Path(given)) == Path(given)


def test_the_home_directory_is_known_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_location("~/results") == as_location(Path("~/results")) == tmp_path / "results"
    with pytest.raises(InputError, match="--storage: home directory not found, got '~nobody-of-that-name"):
        as_location("~nobody-of-that-name/results")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("s3://my-bucket", "s3://my-bucket"),
        ("s3://my-bucket/", "s3://my-bucket"),
        ("s3://my-bucket/sweeps/of=us/", "s3://my-bucket/sweeps/of=us"),
    ],
)
def test_an_address_of_a_bucket_is_shown_without_a_slash_at_its_end(given: str, shown: str) -> None:
    assert str(as_location(given)) == shown
    assert as_location(shown) == as_location(given)


@pytest.mark.parametrize(
    "given", ["s3://", "s3://B/x", "s3://a", "gs://bucket/x", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a b"]
)
def test_any_other_address_is_refused_by_the_name_of_its_field(given: str) -> None:
    with pytest.raises(InputError, match=r"DIR: must be a folder, or a folder of a bucket, got .*s3://BUCKET/KEY"):
        as_location(given, "DIR")


def test_a_bucket_has_of_a_path_what_a_ledger_needs() -> None:
    sweep = S3Location("bucket") / "sweeps" / "demo"
    assert str(sweep) == sweep.as_uri() == "s3://bucket/sweeps/demo"
    assert (sweep.name, str(sweep.parent)) == ("demo", "s3://bucket/sweeps")
    assert sweep.absolute() == sweep.resolve() == sweep
    assert str(S3Location("bucket") / "demo") == "s3://bucket/demo"
    assert (S3Location("bucket") / "demo").parent == S3Location("bucket")


def test_two_sweeps_of_a_bucket_do_not_see_each_other(s3: None) -> None:
    one, other = Ledger("s3://sweeps/here/a"), Ledger("s3://sweeps/here/ab")
    one.write_sweep({"name": "a"})
    assert other.read_sweep() is None
    assert one.read_sweep() == Ledger("s3://sweeps/here/a").read_sweep() == {"name": "a"}


def test_missing_packages_are_named_with_the_extra_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gga_sweep.ledger.s3_store", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"pip install 'gga-sweep\[s3\]' .boto3 is missing"):
        open_store(S3Location("other-bucket", "x"))


def test_missing_credentials_are_named_before_any_request(s3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="needs credentials where boto3 finds them"):
        open_store(S3Location("bucket-of-nobody", "x"))
