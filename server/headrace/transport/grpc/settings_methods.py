"""TraceSetting and LogSettings: read, and change where the request has values."""

from headrace.errors import InvalidArgument
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.security.control_guard import GuardedControl
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.parse import parse
from headrace.transport.grpc.server_methods import SERVICE


class SettingsMethods:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def methods(self) -> list[Method]:
        return [
            ControlMethod(SERVICE + "TraceSetting", self.trace_setting),
            ControlMethod(SERVICE + "LogSettings", self.log_settings),
        ]

    async def trace_setting(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.TraceSettingRequest, data)
        updates = {name: list(setting.value) for name, setting in request.settings.items()}
        settings = await self._control.of(call.caller).trace_settings(request.model_name, updates)
        response = pb.TraceSettingResponse()
        for name, values in settings.items():
            response.settings[name].value.extend(values)
        return response.SerializeToString()

    async def log_settings(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.LogSettingsRequest, data)
        updates = {name: _log_value(name, setting) for name, setting in request.settings.items()}
        settings = await self._control.of(call.caller).log_settings(updates)
        response = pb.LogSettingsResponse()
        for name, value in settings.items():
            setting = response.settings[name]
            if isinstance(value, bool):
                setting.bool_param = value
            elif isinstance(value, int):
                setting.uint32_param = value
            else:
                setting.string_param = value
        return response.SerializeToString()


def _log_value(name: str, setting: pb.LogSettingsRequest.SettingValue) -> bool | int | str:
    kind = setting.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidArgument(f"log setting '{name}' has no value")
    value: bool | int | str = getattr(setting, kind)
    return value
