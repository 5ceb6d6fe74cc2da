"""Functions and classes: their definitions, and what a client is told of them."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from mini.loopback import gpus, private_mounts
from mini.loopback.state import App, Function, PlaneState, look_up
from mini.loopback.volumes import describe

# Fields of a definition that say it needs what is not offered here.
_NOT_OFFERED = {
    "webhook_config": "web endpoints",
    "is_server": "servers",
    "checkpointing_enabled": "memory snapshots",
    "_experimental_group_size": "clusters",
    "shared_volume_mounts": "network file systems",
    "cloud_bucket_mounts": "cloud bucket mounts",
    "s3_mounts": "cloud bucket mounts",
}

# Options of containers, by the autoscaler's setting that they stand for.
_SCALING = {
    "concurrency_limit": "max_containers",
    "warm_pool_size": "min_containers",
    "buffer_containers": "buffer_containers",
    "task_idle_timeout_secs": "scaledown_window",
}


class Functions:
    """Handlers by the name of their call.

    Args:
        state: The control plane's.
    """

    def __init__(self, state: PlaneState) -> None:
        self.state = state

    async def FunctionPrecreate(self, request: api_pb2.FunctionPrecreateRequest) -> api_pb2.FunctionPrecreateResponse:
        app = look_up(self.state.apps, request.app_id, "App")
        if app.stopped:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App '{app.name}' ({app.id}) is stopped")
        function = self.state.functions.get(request.existing_function_id)
        if function is None:
            function = Function(self.state.new_id("fu"), app.id, request.function_name)
            self.state.functions[function.id] = function
        function.announced = request
        return api_pb2.FunctionPrecreateResponse(function_id=function.id, handle_metadata=_metadata(function))

    async def FunctionCreate(self, request: api_pb2.FunctionCreateRequest) -> api_pb2.FunctionCreateResponse:
        # With a choice of GPUs the definitions are a ranked list; the first is as good as any here.
        ranked = [ranked.function for ranked in request.function_data.ranked_functions]
        definition = api_pb2.Function()
        definition.CopyFrom(ranked[0] if ranked else request.function)
        for one in ranked or [definition]:
            await self._refuse(one)
        app = look_up(self.state.apps, request.app_id, "App")
        function = self.state.functions.get(request.existing_function_id)
        if function is None:
            function = Function(self.state.new_id("fu"), app.id, "")
            self.state.functions[function.id] = function
        function.definition, function.name = definition, definition.function_name
        for variant in self.state.functions.values():
            if variant.base == function.id:
                variant.definition = _with_options(definition, variant.options)
        data = api_pb2.FunctionData()
        if ranked:
            data.CopyFrom(request.function_data)
        else:
            data.CopyFrom(_data(definition))
            data.ranked_functions.add(rank=0, function=definition)
        return api_pb2.FunctionCreateResponse(
            function_id=function.id,
            function=definition,
            function_data=data,
            handle_metadata=_metadata(function),
        )

    async def FunctionGet(self, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:
        app = self._deployed(request.app_name, request.environment_name)
        if request.object_tag not in app.functions:
            raise GRPCError(Status.NOT_FOUND, f"Function '{request.object_tag}' not found in app '{request.app_name}'")
        function = self.state.functions[app.functions[request.object_tag]]
        return api_pb2.FunctionGetResponse(
            function_id=function.id, handle_metadata=_metadata(function), function=_created(function)
        )

    async def FunctionGetById(self, request: api_pb2.FunctionGetByIdRequest) -> api_pb2.FunctionGetByIdResponse:
        function = look_up(self.state.functions, request.function_id, "Function")
        return api_pb2.FunctionGetByIdResponse(function=_created(function), handle_metadata=_metadata(function))

    def _deployed(self, name: str, environment: str) -> App:
        environment = self.state.environment(environment)
        app = self.state.apps.get(self.state.deployments.get((environment, name), ""))
        if app is None:
            raise GRPCError(Status.NOT_FOUND, f"App '{name}' not found in environment '{environment}'")
        return app

    async def FunctionBindParams(
        self, request: api_pb2.FunctionBindParamsRequest
    ) -> api_pb2.FunctionBindParamsResponse:
        base = look_up(self.state.functions, request.function_id, "Function")
        # The same parameters and options are the same function: its containers are shared.
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()[:22]
        bound = self.state.functions.get(f"fu-{digest}")
        if bound is None:
            definition = _with_options(base.created, request.function_options)
            await self._refuse(definition)
            bound = Function(f"fu-{digest}", base.app_id, base.name, definition, base.id)
            bound.options, bound.parameters = request.function_options, request.serialized_params
            bound.announced = base.announced
            self.state.functions[bound.id] = bound
        return api_pb2.FunctionBindParamsResponse(bound_function_id=bound.id, handle_metadata=_metadata(bound))

    async def _refuse(self, definition: api_pb2.Function) -> None:
        _refuse(definition)
        if self.state.sandbox is None:  # else each container has a root of its own, with any folder
            await _refuse_mounts(definition)

    async def ClassCreate(self, request: api_pb2.ClassCreateRequest) -> api_pb2.ClassCreateResponse:
        class_id = request.existing_class_id or self.state.new_id("cs")
        self.state.classes[class_id] = request.app_id
        return api_pb2.ClassCreateResponse(class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata())

    async def ClassGet(self, request: api_pb2.ClassGetRequest) -> api_pb2.ClassGetResponse:
        app = self._deployed(request.app_name, request.environment_name)
        if request.object_tag not in app.classes:
            raise GRPCError(Status.NOT_FOUND, f"Cls '{request.object_tag}' not found in app '{request.app_name}'")
        return api_pb2.ClassGetResponse(
            class_id=app.classes[request.object_tag], handle_metadata=api_pb2.ClassHandleMetadata()
        )


def layout(state: PlaneState, app: App) -> api_pb2.AppLayout:
    """What an app consists of and depends on, as a container and a client are told it."""
    own = {one.name: one.id for one in state.functions.values() if one.app_id == app.id and not one.base}
    needed = {
        dependency.object_id
        for function_id in own.values()
        if (definition := state.functions[function_id].definition) is not None
        for dependency in definition.object_dependencies
    }
    ids = dict.fromkeys([*own.values(), *app.classes.values(), *sorted(needed)])
    return api_pb2.AppLayout(
        function_ids=own, class_ids=app.classes, objects=[_described(state, object_id) for object_id in ids]
    )


def _described(state: PlaneState, object_id: str) -> api_pb2.Object:
    """An object with what a handle of it is made from."""
    if object_id in state.functions:
        metadata = _metadata(state.functions[object_id])
        return api_pb2.Object(object_id=object_id, function_handle_metadata=metadata)
    if object_id in state.classes:
        return api_pb2.Object(object_id=object_id, class_handle_metadata=api_pb2.ClassHandleMetadata())
    if object_id in state.mounts:
        return api_pb2.Object(object_id=object_id, mount_handle_metadata=api_pb2.MountHandleMetadata())
    if object_id in state.volumes:
        return api_pb2.Object(object_id=object_id, volume_metadata=describe(state, object_id))
    return api_pb2.Object(object_id=object_id)  # images, secrets, dicts and queues ask for more when they need it


def _metadata(function: Function) -> api_pb2.FunctionHandleMetadata:
    """What a client is told of a function, before and after it is created."""
    of = function.definition or function.announced
    formats = [api_pb2.DATA_FORMAT_PICKLE, api_pb2.DATA_FORMAT_CBOR]
    metadata = api_pb2.FunctionHandleMetadata(
        function_name=function.name,
        function_type=of.function_type if of else api_pb2.Function.FUNCTION_TYPE_FUNCTION,
        app_id=function.app_id,
        definition_id=function.id,
        supported_input_formats=(of.supported_input_formats if of else None) or formats,
        supported_output_formats=(of.supported_output_formats if of else None) or formats,
    )
    if of is not None and of.HasField("function_schema"):
        metadata.function_schema.CopyFrom(of.function_schema)
    if function.definition is not None:
        metadata.is_method = function.definition.is_method
        metadata.class_parameter_info.CopyFrom(function.definition.class_parameter_info)
    for name, method in of.method_definitions.items() if of else ():
        metadata.method_handle_metadata[name].CopyFrom(
            api_pb2.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                is_method=True,
                use_method_name=name,
                function_schema=method.function_schema,
                supported_input_formats=method.supported_input_formats or formats,
                supported_output_formats=method.supported_output_formats or formats,
            )
        )
    return metadata


def _refuse(definition: api_pb2.Function) -> None:
    """Refuse what cannot be had here.

    Raises:
        GRPCError: With what it is.
    """
    if any(method.webhook_config.type for method in definition.method_definitions.values()):
        raise GRPCError(Status.UNIMPLEMENTED, "the control plane on loopback does not offer web endpoints")
    gpus.check(definition.resources.gpu_config)
    for field, value in definition.ListFields():
        offered = field.name == "_experimental_group_size" and value <= 1
        offered = offered or (field.name == "webhook_config" and not value.type)
        if field.name in _NOT_OFFERED and not offered:
            what = _NOT_OFFERED[field.name]
            raise GRPCError(Status.UNIMPLEMENTED, f"the control plane on loopback does not offer {what}")


async def _refuse_mounts(definition: api_pb2.Function) -> None:
    """Refuse mount points that cannot be had here.

    Raises:
        GRPCError: With the reason.
    """
    paths = [mount.mount_path for mount in definition.volume_mounts]
    problem = await private_mounts.problem([path for path in paths if not below_root(path)])
    if problem is not None:
        raise GRPCError(Status.FAILED_PRECONDITION, problem)


def below_root(path: str) -> bool:
    """Whether a container has a path in its own folder, where its working directory `/root` is."""
    return PurePosixPath("/root") in PurePosixPath(path).parents


def _with_options(base: api_pb2.Function, options: api_pb2.FunctionOptions) -> api_pb2.Function:
    """A definition with what `with_options` or a class's own options change."""
    changed = api_pb2.Function()
    changed.CopyFrom(base)
    if options.replace_secret_ids:
        del changed.secret_ids[:]
    if options.replace_volume_mounts:
        del changed.volume_mounts[:]
    changed.secret_ids.extend(options.secret_ids)
    changed.volume_mounts.extend(options.volume_mounts)
    changed.mount_ids.extend(options.mount_ids)
    given = {field.name for field, _ in options.ListFields()}
    for name, setting in _SCALING.items():
        if name in given:
            setattr(changed.autoscaler_settings, setting, getattr(options, name))
    for name in ("resources", "retry_policy"):
        if name in given:
            getattr(changed, name).CopyFrom(getattr(options, name))
    for name in (
        "concurrency_limit",
        "timeout_secs",
        "task_idle_timeout_secs",
        "target_concurrent_inputs",
        "max_concurrent_inputs",
        "batch_max_size",
        "batch_linger_ms",
    ):
        if name in given:
            setattr(changed, name, getattr(options, name))
    return changed


def _created(function: Function) -> api_pb2.FunctionData:
    data = _data(function.created)
    data.ranked_functions.add(rank=0, function=function.created)
    return data


def _data(definition: api_pb2.Function) -> api_pb2.FunctionData:
    """The part of a definition that does not depend on the GPU."""
    shared = {field.name for field in api_pb2.FunctionData.DESCRIPTOR.fields} - {"ranked_functions"}
    data = api_pb2.FunctionData()
    for field, value in definition.ListFields():
        if field.name in shared:
            target = getattr(data, field.name)
            if hasattr(target, "MergeFrom"):
                target.MergeFrom(value)
            else:
                setattr(data, field.name, value)
    return data
