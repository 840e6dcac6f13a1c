"""Checks that the SDK verifies certificates: calls fail if the server's CA is not trusted."""
import json
import os
import subprocess
import sys

import certifi
import pytest

TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
CLIENTS = ("identity-sync", "identity-aio", "chat-sync", "chat-aio")


def probe(environment, *arguments):
    """Runs tls_probe.py in a separate process, because the SDK reads the trusted certificates only once."""
    done = subprocess.run(
        [sys.executable, os.path.join(os.path.dirname(__file__), "tls_probe.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def public_roots_only(tmp_path_factory):
    """The current environment without our CA: only the public certificates of certifi are trusted."""
    environment = {name: value for name, value in os.environ.items() if name not in TRUST}
    environment["REQUESTS_CA_BUNDLE"] = environment["SSL_CERT_FILE"] = certifi.where()
    environment["SSL_CERT_DIR"] = str(tmp_path_factory.mktemp("no-certificates"))
    return environment


@pytest.fixture(scope="module")
def as_given():
    return probe(os.environ)


@pytest.fixture(scope="module")
def without_our_ca(public_roots_only):
    return probe(public_roots_only)


@pytest.fixture(scope="module")
def with_the_ca_file(public_roots_only):
    return probe(public_roots_only, os.environ["CONFAB_CA_FILE"])


@pytest.mark.parametrize("client", CLIENTS)
def test_our_ca_is_trusted_in_the_environment_as_given(as_given, client):
    assert as_given[client] == "answered"


@pytest.mark.parametrize("client", CLIENTS)
def test_without_our_ca_the_certificate_is_refused(without_our_ca, client):
    assert "CERTIFICATE_VERIFY_FAILED" in without_our_ca[client]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_ca_file_handed_to_the_client_is_trust_enough(with_the_ca_file, client):
    assert with_the_ca_file[client] == "answered"
