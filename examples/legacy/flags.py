"""The older clients' way, in Python: read the entry in Redis, and decide by its four rules. It knows no salts and no hashed
members. Questions come in as JSON lines {"feature","tenant","user"}, answers go out in the same order.

  echo '{"feature":"receipts","tenant":"acme","user":"u1"}' | REDIS_URL=redis://127.0.0.1:6379 python3 flags.py

Needs the redis package (Debian: python3-redis).
"""
import hashlib
import json
import os
import sys

import redis

NS = os.getenv("FLAGS_NS", "flags:v1:")
store = redis.Redis.from_url(os.getenv("FLAGS_REDIS_URL") or os.environ["REDIS_URL"])


def read(key):
    value = store.get(NS + key)
    return json.loads(value) if value else None


def is_enabled(flag, tenant, user=None):
    entry = read(f"{flag}:{tenant}") or read(f"{flag}:__default__")
    if not entry:
        return False, None, "no-config"
    if not entry.get("enabled"):
        return False, entry.get("version"), "disabled"
    key = user or tenant or ""
    if key in (entry.get("cohorts") or []):
        return True, entry.get("version"), "cohort"
    pct = max(0, min(100, entry.get("ramp_pct", 100)))
    if pct >= 100:
        return True, entry.get("version"), "pct-100"
    n = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    return n < pct, entry.get("version"), "pct-hash"


for line in sys.stdin:
    q = json.loads(line)
    on, version, reason = is_enabled(q["feature"], q["tenant"], q.get("user"))
    print(json.dumps({"on": on, "version": version or "", "reason": reason}))
