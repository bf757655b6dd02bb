from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NewPublicKey(_message.Message):
    __slots__ = ("name", "encoded_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENCODED_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    encoded_value: str
    def __init__(self, name: _Optional[str] = ..., encoded_value: _Optional[str] = ...) -> None: ...

class PublicKeyFields(_message.Message):
    __slots__ = ("active",)
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    active: bool
    def __init__(self, active: _Optional[bool] = ...) -> None: ...

class PublicKeyEntry(_message.Message):
    __slots__ = ("id", "user_id", "name", "encoded_value", "active", "created_on")
    ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENCODED_VALUE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    CREATED_ON_FIELD_NUMBER: _ClassVar[int]
    id: int
    user_id: int
    name: str
    encoded_value: str
    active: bool
    created_on: str
    def __init__(self, id: _Optional[int] = ..., user_id: _Optional[int] = ..., name: _Optional[str] = ..., encoded_value: _Optional[str] = ..., active: _Optional[bool] = ..., created_on: _Optional[str] = ...) -> None: ...

class PublicKeyResult(_message.Message):
    __slots__ = ("status", "id", "public_key")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    status: str
    id: int
    public_key: PublicKeyEntry
    def __init__(self, status: _Optional[str] = ..., id: _Optional[int] = ..., public_key: _Optional[_Union[PublicKeyEntry, _Mapping]] = ...) -> None: ...

class PublicKeysResult(_message.Message):
    __slots__ = ("status", "count", "public_keys")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEYS_FIELD_NUMBER: _ClassVar[int]
    status: str
    count: int
    public_keys: _containers.RepeatedCompositeFieldContainer[PublicKeyEntry]
    def __init__(self, status: _Optional[str] = ..., count: _Optional[int] = ..., public_keys: _Optional[_Iterable[_Union[PublicKeyEntry, _Mapping]]] = ...) -> None: ...

class AddPublicKeyRequest(_message.Message):
    __slots__ = ("user_id", "public_key")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    public_key: NewPublicKey
    def __init__(self, user_id: _Optional[int] = ..., public_key: _Optional[_Union[NewPublicKey, _Mapping]] = ...) -> None: ...

class AddPublicKeyResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: PublicKeyResult
    def __init__(self, response: _Optional[_Union[PublicKeyResult, _Mapping]] = ...) -> None: ...

class FindPublicKeysRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    def __init__(self, user_id: _Optional[int] = ...) -> None: ...

class FindPublicKeysResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: PublicKeysResult
    def __init__(self, response: _Optional[_Union[PublicKeysResult, _Mapping]] = ...) -> None: ...

class ChangePublicKeyRequest(_message.Message):
    __slots__ = ("key_id", "user_id", "public_key")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    key_id: int
    user_id: int
    public_key: PublicKeyFields
    def __init__(self, key_id: _Optional[int] = ..., user_id: _Optional[int] = ..., public_key: _Optional[_Union[PublicKeyFields, _Mapping]] = ...) -> None: ...

class ChangePublicKeyResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: PublicKeyResult
    def __init__(self, response: _Optional[_Union[PublicKeyResult, _Mapping]] = ...) -> None: ...
