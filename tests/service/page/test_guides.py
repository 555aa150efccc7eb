"""The guides that the service serves: each page, and that its links lead somewhere."""

from __future__ import annotations

import re
from urllib.parse import urldefrag, urljoin

import pytest
from fastapi.testclient import TestClient

from service.page import guides
from service.page.assets import POLICY

from .test_assets import Elements


@pytest.mark.parametrize("name", guides.names())
def test_every_link_of_a_guide_leads_somewhere(client: TestClient, name: str) -> None:
    base = f"/guides/{'' if name == 'index' else name}"
    response = client.get(base)
    assert response.status_code == 200
    assert response.headers["Content-Security-Policy"] == POLICY
    assert "<!--" not in response.text
    assert not re.search(r"<th>\s*</th>", response.text)  # which a screen reader stumbles over
    for tag, attributes in Elements(response.text).found:
        assert "style" not in attributes  # which that policy forbids
        address = attributes.get("href") or attributes.get("src")
        if address is None or address.startswith("http"):
            continue
        target, anchor = urldefrag(urljoin(base, address))
        answer = client.get(target)
        assert answer.status_code == 200, f"{tag} {address}"
        assert not anchor or f'id="{anchor}"' in answer.text, address


def test_the_page_and_the_index_lead_to_every_guide_for_users(client: TestClient) -> None:
    assert 'href="guides/"' in client.get("/").text
    index = client.get("/guides/").text
    for name in ("files", "live", "clients", "operators", "scale", "fine-tuning"):
        assert f'href="{name}' in index
    assert client.get("/guides", follow_redirects=False).headers["Location"] == "/guides/"


@pytest.mark.parametrize("path", ["none", "generate.py", "..%2fREADME", "../README", "x.png"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(f"/guides/{path}").status_code == 404


@pytest.mark.parametrize("settings", [{"api_keys": ("secret",)}])
def test_guides_need_no_key(client: TestClient) -> None:
    assert client.get("/guides/").status_code == 200
