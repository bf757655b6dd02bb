"""How the Lua filter is told of the contract."""

from instantaudience_gateway.contract.lua import lua_literal


def test_lua_literal() -> None:
    value = {"a-1": [1, True, 'x"\n\\é'], "none": None}
    assert lua_literal(value) == r'{["a\0451"]={1,true,"x\034\010\092\195\169"}}'
