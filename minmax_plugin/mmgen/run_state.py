"""The parts of an exact resume that the toolkit's checkpoints lack: random states and the place in the data."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmcv.parallel import is_module_wrapper
from mmcv.runner import HOOKS, CheckpointHook, Hook
from mmgen.core.hooks import VisualizeUnconditionalSamples
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, Sampler

from minmax_plugin.mmgen.adapters import find_adapter
from minmax_plugin.mmgen.pictures import LISTED
from minmax_plugin.plain import plain
from minmax_plugin.randomness import random_state, set_random_state


class RunState:
    """Random states, place in the data, and noise of sample pictures, of a run that is under way.

    With ``workers_per_gpu=0`` a resumed run continues to the last bit. With workers the order of the samples is
    kept. Their augmentation is not, because each worker process draws by itself. Of several ranks, the first writes
    the checkpoint, and saves and restores its random states. The others draw new numbers.

    Args:
        runner: The toolkit's runner.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._loaded: Mapping[str, Any] | None = None

    @property
    def _pictures(self) -> list[Any]:
        return [h for h in self._runner.hooks if isinstance(h, VisualizeUnconditionalSamples)]

    def state_dict(self) -> dict[str, Any]:
        noise = [h.sampling_noise for h in self._pictures]
        loader = getattr(self._runner, "data_loader", None)  # a hook may save before there is one
        data = loader.position() if isinstance(loader, CountingLoader) else None
        # Plain, because torch.load(weights_only=True) refuses NumPy's array.
        random = plain(random_state())
        iteration = self._runner.iter + 1
        return {"random": random, "data": data, "picture_noise": noise, "iteration": iteration, "sorted": True}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore all at once, except the parts that need the data; they are noted for later."""
        self._loaded = state
        # mmcv's own IterBasedRunner saves one less, and would do an iteration twice.
        self._runner._iter = self._runner._inner_iter = state["iteration"]
        device = next(self._runner.model.parameters()).device
        for hook, noise in zip(self._pictures, state["picture_noise"], strict=False):
            hook.sampling_noise = tree_map_only(torch.Tensor, lambda t: t.to(device), noise)

    def before_data(self) -> None:
        """Prepare for the runner, which makes its loaders next and takes the first batch."""
        self._start = torch.get_rng_state()

    def before_batch(self, batch: dict[str, Any] | None = None) -> None:
        """Run before each batch. Where the runner gives no sign then, run after it, with the ``batch`` it took."""
        loader = self._runner.data_loader
        if isinstance(loader, CountingLoader):
            return
        loader.__class__ = type("CountingIterLoader", (CountingLoader, type(loader)), {})
        loader.start(self._start, taken=0 if batch is None else 1, drawn=False)
        if self._loaded is None:
            return
        if self._loaded["data"] is not None:
            self._return_to(self._loaded["data"])
            dataset = loader._dataloader.dataset
            if not self._loaded.get("sorted") and type(getattr(dataset, "dataset", dataset)).__name__ in LISTED:
                self._runner.logger.warning(
                    "the checkpoint is of a version that listed pictures in the disk's order. They are sorted now, so "
                    "this run continues with others than it would have then"
                )
        if self._runner.rank == 0:
            set_random_state(tree_map_only(torch.Tensor, torch.Tensor.cpu, self._loaded["random"]))
        self._loaded = None
        if batch is not None:  # it is another one's: exchange it in place
            right = next(loader)
            batch.clear()
            batch.update(right)

    def _return_to(self, position: Mapping[str, Any]) -> None:
        # A place belongs to the data of its scale. At a change of scale, the toolkit changes the data later.
        loader, model = self._runner.data_loader, bare(self._runner.model)
        scale = position.get("scale", getattr(model, "_curr_scale_int", None))  # 0.1.0 did not save it
        if scale is not None:
            loader.update_dataloader(int(scale))
        loader.move_to(position)


def bare(model: Any) -> Any:
    """Return a runner's model without its wrapper."""
    return model.module if is_module_wrapper(model) else model


@HOOKS.register_module()
class ExactResume(Hook):
    """Makes a training without MinMaxHook resume to the last bit. ``minmax-train`` adds it.

    Its checkpoints hold a :class:`RunState` as ``meta["run"]``, which the toolkit ignores.

    Args:
        saved: The value of ``meta["run"]`` in the checkpoint, where one is resumed.
    """

    reads_weights = False

    def __init__(self, saved: RunMeta | None = None) -> None:
        self._saved = saved

    def before_run(self, runner: Any) -> None:
        self._state, self._runner, self._model = RunState(runner), runner, bare(runner.model)
        self._kind = find_adapter(type(self._model))
        if self._saved is not None:
            self._load(self._saved.content)
        # Safe while the runner iterates over this list: later entries do not move.
        runner.hooks.remove(self)
        runner.hooks.insert(0, self)
        runner.register_hook(LastOfAll(self._state), priority="LOWEST")
        save = runner.save_checkpoint

        def save_checkpoint(*args: Any, meta: Any = None, **kwargs: Any) -> None:
            save(*args, meta={**(meta or {}), "run": self._content()}, **kwargs)

        runner.save_checkpoint = save_checkpoint

    def before_fetch_train_data(self, runner: Any) -> None:
        self._state.before_batch()

    def before_train_iter(self, runner: Any) -> None:
        self._state.before_batch(getattr(runner, "data_batch", None))

    @property
    def _discriminator(self) -> Any:
        return getattr(self._model, self._kind.names[1], None) if self._kind else None

    def _content(self) -> dict[str, Any]:
        content = self._state.state_dict()
        if self._kind is not None:
            content["gan"] = self._kind.progress(self._model)
        accumulation = (getattr(self._model, "train_cfg", None) or {}).get("batch_accumulation_steps", 1)
        if (self._runner.iter + 1) % accumulation and self._discriminator is not None:  # a gradient is half summed up
            parameters = self._discriminator.parameters()
            content["accumulated"] = [None if p.grad is None else p.grad.clone() for p in parameters]
        return content

    def _load(self, content: Mapping[str, Any]) -> None:
        self._state.load_state_dict(content)
        if self._kind is None:
            return
        self._kind.load_progress(self._model, content["gan"])
        self._model.iteration = self._runner.iter  # where the toolkit counts by itself, it would start from 0
        if "accumulated" in content:
            for parameter, gradient in zip(self._discriminator.parameters(), content["accumulated"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)


class RunMeta:
    """Holds ``meta["run"]`` of a checkpoint. A config copies its values, and leaves this one as it is."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content


class LastOfAll(Hook):
    """Runs after all other hooks: notes where the data begin, and has checkpoints written last.

    Args:
        state: The state of the run.
        after: A function that is called after each iteration.
    """

    reads_weights = False

    def __init__(self, state: RunState, after: Callable[[], None] = lambda: None) -> None:
        self._state, self._after = state, after

    def before_run(self, runner: Any) -> None:
        self._state.before_data()

    def before_epoch(self, runner: Any) -> None:
        # A checkpoint then includes the other hooks' random draws. A process that is killed meanwhile loses none of
        # their measurements. Safe while the runner iterates over this list: this hook is its last, and stays so.
        for hook in [h for h in runner.hooks if isinstance(h, CheckpointHook)]:
            runner.hooks.remove(hook)
            runner.hooks.insert(len(runner.hooks) - 1, hook)

    def after_train_iter(self, runner: Any) -> None:
        self._after()


class CountingLoader:
    """Mixin for the toolkit's endless loader: it knows its place in the data, and can move to another.

    A place is the epoch, the random state from which its order was drawn, and the number of batches taken. So it is
    small for a data set of any size.
    """

    iter_loader: Iterator[Any]
    _dataloader: DataLoader[Any]
    _epoch: int
    _scale: int | None = None  # of the images, where networks grow

    def start(self, random: torch.Tensor, taken: int, drawn: bool = True) -> None:
        """Begin to count. ``drawn`` says that the loader's own seed was drawn before ``random`` was read."""
        self._random, self._taken, self._drawn, self._known = random, taken, drawn, self.iter_loader

    def update_dataloader(self, curr_scale: int) -> None:
        super().update_dataloader(curr_scale)  # type: ignore[misc]
        self._scale = curr_scale

    def __next__(self) -> Any:
        random = torch.get_rng_state()
        if self.iter_loader is not self._known:  # made outside, for a new stage
            self.start(random, taken=0)
        epoch = self._epoch
        batch = super().__next__()  # type: ignore[misc]
        if self._epoch != epoch:  # persistent workers keep the same iterator, which draws its seed once
            self.start(random, taken=0, drawn=self._dataloader.persistent_workers)
        self._taken += 1
        return batch

    def position(self) -> dict[str, Any]:
        place = {"epoch": self._epoch, "random": self._random, "drawn": self._drawn, "taken": self._taken}
        further = {"scale": self._scale, "seed": getattr(self._dataloader.sampler, "seed", None)}  # of some loaders
        return place | {name: value for name, value in further.items() if value is not None}

    def move_to(self, position: Mapping[str, Any]) -> None:
        """Move to a place, without loading the data before it. This changes torch's random state."""
        loader: Any = self._dataloader
        if loader.persistent_workers:
            iter(loader)  # the first time draws a seed, which the run that is resumed has long had
        self._epoch = position["epoch"]
        if "seed" in position:
            loader.sampler.seed = position["seed"]
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(self._epoch)
        torch.set_rng_state(position["random"].cpu())
        if not position["drawn"]:
            iter(DataLoader([0]))  # type: ignore[arg-type]  # draws what every loader draws before its sampler does
        batches = iter(loader.batch_sampler)
        batches = itertools.chain([next(batches)], batches)  # so that the order is drawn now, at the first batch
        deque(itertools.islice(batches, position["taken"]), maxlen=0)
        rest: DataLoader[Any] = DataLoader(
            loader.dataset,
            batch_sampler=_Rest(batches),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )
        self.iter_loader = iter(rest)
        self.start(position["random"].cpu(), position["taken"], position["drawn"])


class _Rest(Sampler[list[int]]):
    """The rest of an epoch."""

    def __init__(self, batches: Iterator[list[int]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches
