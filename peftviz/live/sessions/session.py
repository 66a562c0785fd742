"""`watch`: a session that records each adapter operation on a model as one step, and shows it."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from peftviz.core import display as views
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import BY_HAND, Timeline, count_steps
from peftviz.errors import MissingDependencyError, SessionClosedError
from peftviz.live.peft_facts import import_peft
from peftviz.live.sessions import interception, kernel
from peftviz.live.sessions.operation import Operation
from peftviz.live.sessions.recorder import Recorder
from peftviz.live.snapshots.capture import check_model

if TYPE_CHECKING:
    import torch

    from peftviz.core.operation_plan import OperationPlan
    from peftviz.core.plan import DeletionPlan
    from peftviz.live.activation.switching import OperationReport
    from peftviz.live.removal.deletion import DeletionReport
    from peftviz.live.removal.repair import RepairReport
    from peftviz.live.removal.unload import UnloadReport


def watch(model: torch.nn.Module, *, values: str = "sample", display: bool | None = None) -> Session:
    """Records from now on each adapter operation on a model as one step, and shows the steps in a live widget.

    An operation is recorded whichever handle or import it comes through: `get_peft_model` imported earlier, methods of
    `PeftModel` and of tuners, of transformers' models, `inject_adapter_in_model`. Keep the session in a variable: it
    closes by `close()`, at the end of a `with` block, or when nothing holds it any more.

    Args:
        model: Any `torch.nn.Module`, with adapters or without.
        values: How tensor values are recorded, as for `peftviz.capture`.
        display: Whether to display the session at once; by default in a notebook. Where the widget's packages
            are not installed, it is displayed as static HTML and text.

    Returns:
        The session. As the last line of the cell that created it, it does not show the widget a second time.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        MissingDependencyError: `display=True`, and the widget's packages are not installed.
    """
    check_model(model)
    import_peft()
    session = Session(model, values=values)
    if display or (display is None and kernel.kernel_shell() is not None):
        session._show(required=bool(display))
    return session


class Session(views.Displayed):
    """An open watch on a model. Made by `peftviz.watch`; usable as a context manager.

    Sessions may overlap, on one model or on several. What is done in one thread inside `step` or inside an operation
    is part of that step; calls in other threads are steps of their own.
    """

    def __init__(self, model: torch.nn.Module, *, values: str = "sample") -> None:
        me = weakref.ref(self)  # whatever outlives the session, the widget above all, must not keep the model alive

        def changed() -> None:
            if (session := me()) is not None:
                session._refresh()

        self._recorder: Recorder | None = Recorder(model, values=values, changed=changed)
        self._timeline = self._recorder.timeline
        self._last_model: weakref.ref[torch.nn.Module] = weakref.ref(model)
        self._inspector: Any = None
        self._shown_in: int | None = None
        interception.register(self._recorder)

    # What was recorded ------------------------------------------------------------------------------------------------

    @property
    def timeline(self) -> Timeline:
        """The steps so far. It grows while the session is open, and can be read after it."""
        return self._timeline

    @property
    def baseline(self) -> Snapshot:
        """The model as it was when the watch began."""
        return self._timeline.baseline

    @property
    def model(self) -> torch.nn.Module:
        """The model to go on with: the `PeftModel` after `get_peft_model`, the base after the last adapter is gone.

        A closed session does not keep it alive.

        Raises:
            SessionClosedError: The session is closed, and nothing else held the model.
        """
        if self._recorder is not None:
            return self._recorder.model
        model = self._last_model()
        if model is None:
            raise self._closed_error("has let go of its model")
        return model

    @property
    def closed(self) -> bool:
        """Whether the session records no more."""
        return self._recorder is None

    # What it does -----------------------------------------------------------------------------------------------------

    @contextmanager
    def step(self, label: str) -> Iterator[Session]:
        """Records what is done inside as one step, adapter operations included.

        Args:
            label: What to call it.

        Raises:
            SessionClosedError: The session is closed.
        """
        recorder = self._open()
        if interception.is_unobserved(recorder):  # inside another step: the outer one is recorded
            yield self
            return
        operation = Operation(BY_HAND, label)
        with interception.unobserved([recorder]):
            recorder.begin(operation)
            try:
                with operation.measured():
                    yield self
            finally:
                recorder.finish(operation)

    def capture(self) -> Snapshot:
        """Looks at the model now. Changes that no recorded operation made become a step that says so.

        Returns:
            The present state.

        Raises:
            SessionClosedError: The session is closed.
        """
        self._open().catch_up()
        return self._timeline.current

    def plan_deletion(self, adapter: str) -> DeletionPlan:
        """What `delete_adapter` would do; touches nothing. See `peftviz.plan_deletion`.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: No such adapter, or it is merged.
        """
        model = self._open().model
        from peftviz.live.removal.deletion import plan_deletion

        return plan_deletion(model, adapter)

    def delete_adapter(self, adapter: str, *, unwrap: bool = True) -> DeletionReport:
        """Deletes an adapter correctly, as one step; `session.model` is what to go on with.

        Args:
            adapter: Name of the adapter.
            unwrap: Whether wrappers that serve no adapter any more are taken away. See `peftviz.delete_adapter`.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: No such adapter, or it is merged.
        """
        model = self._open().model
        from peftviz.live.removal.deletion import delete_adapter

        return delete_adapter(model, adapter, baseline=self.baseline, unwrap=unwrap)

    def repair(self) -> RepairReport:
        """Mends what operations left behind, as one step. See `peftviz.repair`.

        Raises:
            SessionClosedError: The session is closed.
        """
        model = self._open().model
        from peftviz.live.removal.repair import repair

        return repair(model, baseline=self.baseline)

    def plan_operation(self, operation: str, adapters: str | Sequence[str] | None = None) -> OperationPlan:
        """What one of the next six methods would do; touches nothing.

        Args:
            operation: Name of the method: `"set_adapter"`, `"enable_adapters"`, `"disable_adapters"`,
                `"merge_adapter"`, `"unmerge_adapter"` or `"unload"`; `"merge_and_unload"` for `unload(merge=True)`.
            adapters: The adapters it would be given.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: No such operation or adapter, or the state of the model forbids it.
        """
        model = self._open().model
        if operation in ("unload", "merge_and_unload"):
            from peftviz.live.removal.unload import plan_unload

            return plan_unload(model, merge=operation == "merge_and_unload", baseline=self.baseline)
        from peftviz.live.activation.switching import plan_operation

        return plan_operation(model, operation, adapters)

    def set_adapter(self, adapter: str | Sequence[str]) -> OperationReport:
        """Makes an adapter the active one by PEFT's own operation, as one step, as a whole or not at all.

        Args:
            adapter: Its name; several where PEFT allows it, which a `PeftModel` does not.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: No such adapter, or one is merged.
            VerificationError: The result was not as planned; the model was put back.
        """
        model = self._open().model
        from peftviz.live.activation.switching import set_adapter

        return set_adapter(model, adapter, baseline=self.baseline)

    def enable_adapters(self) -> OperationReport:
        """Switches the adapters on, as one step; trained copies of whole modules too, which transformers forgets.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: The model has no layer that can be switched.
            VerificationError: The result was not as planned; the model was put back.
        """
        model = self._open().model
        from peftviz.live.activation.switching import enable_adapters

        return enable_adapters(model, baseline=self.baseline)

    def disable_adapters(self) -> OperationReport:
        """Switches the adapters off, as one step: the model computes as its base model does.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: The model has no layer that can be switched, or an adapter is merged.
            VerificationError: The result was not as planned; the model was put back.
        """
        model = self._open().model
        from peftviz.live.activation.switching import disable_adapters

        return disable_adapters(model, baseline=self.baseline)

    def merge_adapter(self, adapters: str | Sequence[str] | None = None) -> OperationReport:
        """Merges adapters into the base weights, as one step. The weights are checked before they are replaced.

        Until it is done a copy of the base weights concerned is kept, so that a failure leaves no trace.

        Args:
            adapters: Which ones; None for the active ones.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: No such adapter, merged already, disabled, or its weights are tied to other modules.
            VerificationError: The result was not as planned; the model was put back.
        """
        model = self._open().model
        from peftviz.live.activation.switching import merge_adapter

        return merge_adapter(model, adapters, baseline=self.baseline)

    def unmerge_adapter(self) -> OperationReport:
        """Takes all merged adapters out of the base weights, as one step; a rounding error stays.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: No adapter is merged.
            VerificationError: The result was not as planned; the model was put back.
        """
        model = self._open().model
        from peftviz.live.activation.switching import unmerge_adapter

        return unmerge_adapter(model, baseline=self.baseline)

    def unload(self, *, merge: bool = False) -> UnloadReport:
        """Takes every adapter off, as one step; `session.model` is the base model then. See `peftviz.unload`.

        Args:
            merge: Whether the active adapters are written into the base first.

        Raises:
            SessionClosedError: The session is closed.
            AdapterError: The model has no adapters, or one that is to be merged cannot be.
        """
        model = self._open().model
        from peftviz.live.removal.unload import unload

        return unload(model, merge=merge, baseline=self.baseline)

    def close(self) -> None:
        """Stops recording and lets go of the model. The timeline stays; changes made last are in it. Idempotent."""
        recorder = self._recorder
        if recorder is None:
            return
        try:
            recorder.catch_up()
        finally:
            interception.unregister(recorder)
            self._last_model = weakref.ref(recorder.model)
            self._recorder = None

    def __enter__(self) -> Session:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Recorder:
        if self._recorder is None:
            raise self._closed_error("is closed")
        return self._recorder

    def _closed_error(self, what: str) -> SessionClosedError:
        return SessionClosedError(
            f"The session {what}.",
            where=f"session on {self.baseline.root_class}, {count_steps(len(self._timeline))}",
            hint="session = peftviz.watch(model) opens a new one; session.timeline of this one can still be read.",
        )

    # How it shows -----------------------------------------------------------------------------------------------------

    @property
    def inspector(self) -> Any:
        """The live widget of this session, made when first asked for.

        Raises:
            MissingDependencyError: The widget's packages are not installed.
        """
        if self._inspector is None:
            self._inspector = views.inspector(self._timeline, _actions(weakref.ref(self)))
        return self._inspector

    def _show(self, *, required: bool) -> None:
        if required:
            _ = self.inspector
        kernel.show(self)
        self._shown_in = kernel.current_cell()

    def _refresh(self) -> None:
        if self._inspector is None:
            return
        try:
            self._inspector.refresh()
        except Exception as error:  # the user's operation is done; a display that fails must not undo its result
            warnings.warn(f"peftviz could not refresh its widget: {error!r}", RuntimeWarning, stacklevel=2)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        cell = kernel.current_cell()
        if cell is not None and cell == self._shown_in:
            return {"text/plain": repr(self)}  # the widget stands above already
        left_out = {*(exclude or ()), views.WIDGET_TYPE}
        bundle = dict(super()._repr_mimebundle_(include=include, exclude=left_out))
        wanted = (not include or views.WIDGET_TYPE in include) and views.WIDGET_TYPE not in (exclude or ())
        if cell is not None and wanted:
            with contextlib.suppress(MissingDependencyError):
                shown = self.inspector._repr_mimebundle_(include={views.WIDGET_TYPE})
                data = shown[0] if isinstance(shown, tuple) else shown
                bundle[views.WIDGET_TYPE] = data[views.WIDGET_TYPE]
        return bundle

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"Session({state}, {count_steps(len(self._timeline))} from {self.baseline.root_class})"


def _actions(me: weakref.ref[Session]) -> Mapping[str, Callable[..., Any]]:
    """What the widget's buttons do, as plain callables that do not keep the session alive."""

    def session() -> Session:
        held = me()
        if held is None:
            raise SessionClosedError(
                "The session of this widget is gone.",
                where="widget",
                hint="session = peftviz.watch(model) opens a new one; keep it in a variable.",
            )
        return held

    return {
        "plan": lambda adapter: session().plan_deletion(adapter),
        "delete": lambda adapter: session().delete_adapter(adapter),
        "repair": lambda: session().repair(),
        "capture": lambda: session().capture(),
        "plan_operation": lambda operation, adapters: session().plan_operation(operation, adapters),
        "set_adapter": lambda adapters: session().set_adapter(adapters),
        "enable_adapters": lambda _: session().enable_adapters(),
        "disable_adapters": lambda _: session().disable_adapters(),
        "merge_adapter": lambda adapters: session().merge_adapter(adapters),
        "unmerge_adapter": lambda _: session().unmerge_adapter(),
        "unload": lambda _: session().unload(),
        "merge_and_unload": lambda _: session().unload(merge=True),
    }
