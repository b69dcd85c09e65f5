"""The layers of the networks that others have published latencies of, from their published architectures.

ResNet (He et al., 2015) with the stride in the 3 x 3 convolution, SSD-MobileNet (Howard et al., 2017; Liu et
al., 2016; 91 classes, as in MLPerf), YOLOv8 and YOLO11 (the blocks, widths and depths of Ultralytics'
configuration files). Only shapes are needed: nothing computes. Tests hold the sums to the published
parameters and FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgead.cost.layers import Layer
from edgead.errors import UnknownNameError


@dataclass(frozen=True)
class _Map:
    """A feature map: channels, height and width."""

    channels: int
    height: int
    width: int

    @property
    def elements(self) -> int:
        return self.channels * self.height * self.width


@dataclass
class _Network:
    """Collects layers while a network is written down; each method takes a map and returns the next."""

    layers: list[Layer] = field(default_factory=list)

    def conv(self, x: _Map, channels: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> _Map:
        """A convolution with bias, its batch norm folded and its rectifier fused."""
        y = _Map(channels, -(-x.height // stride), -(-x.width // stride))
        weights = channels * (x.channels // groups) * kernel * kernel
        kind = "depthwise" if groups == x.channels == channels else "conv"
        self._add(kind, x.elements, y.elements, weights * y.height * y.width, weights + channels)
        return y

    def silu(self, x: _Map, channels: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> _Map:
        """A convolution and SiLU, for which TensorRT runs a kernel of its own (ultralytics#6471 shows it)."""
        y = self.conv(x, channels, kernel, stride, groups=groups)
        self._add("activation", y.elements, y.elements)
        return y

    def pool(self, x: _Map, stride: int = 1) -> _Map:
        y = _Map(x.channels, -(-x.height // stride), -(-x.width // stride))
        self._add("pool", x.elements, y.elements)
        return y

    def split(self, x: _Map) -> _Map:
        """One half of the channels; TensorRT copies both."""
        half = replace(x, channels=x.channels // 2)
        for _ in range(2):
            self._add("copy", half.elements, half.elements)
        return half

    def resize(self, x: _Map, factor: int) -> _Map:
        y = _Map(x.channels, x.height * factor, x.width * factor)
        self._add("resize", x.elements, y.elements)
        return y

    def matmul(self, rows: int, inner: int, columns: int, *, heads: int) -> None:
        """`heads` products of activations, rows x inner by inner x columns."""
        read = heads * inner * (rows + columns)
        self._add("linear", read, heads * rows * columns, heads * rows * inner * columns)

    def elementwise(self, elements: int, *, inputs: int = 1) -> None:
        self._add("elementwise", inputs * elements, elements)

    def softmax(self, elements: int) -> None:
        self._add("reduce", elements, elements)

    def linear(self, inputs: int, outputs: int) -> None:
        self._add("linear", inputs, outputs, inputs * outputs, inputs * outputs + outputs)

    def _add(self, kind: str, read: int, written: int, macs: int = 0, parameters: int = 0) -> None:
        self.layers.append(
            Layer("network", f"{kind} {len(self.layers)}", kind, macs, parameters, read, written)
        )


def layers_of_network(name: str, *, size: int, batch: int = 1) -> tuple[Layer, ...]:
    """The layers of a published network at `size` x `size` pixels; a batch multiplies all but the parameters.

    Raises UnknownNameError with near matches.
    """
    if name not in NETWORKS:
        raise UnknownNameError("network", name, NETWORKS)
    network = _Network()
    NETWORKS[name](network, _Map(3, size, size))
    return tuple(
        replace(
            layer,
            macs=layer.macs * batch,
            input_bytes=layer.input_bytes * batch,
            output_bytes=layer.output_bytes * batch,
        )
        for layer in network.layers
    )


def _resnet(depths: tuple[int, ...], *, bottleneck: bool) -> Callable[[_Network, _Map], None]:
    def build(net: _Network, image: _Map) -> None:
        x = net.pool(net.conv(image, 64, 7, 2), 2)
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage and not index else 1
                x = _residual_block(net, x, 64 * 2**stage, stride, bottleneck=bottleneck)
        net.linear(_pooled(net, x), 1000)

    return build


def _residual_block(net: _Network, x: _Map, planes: int, stride: int, *, bottleneck: bool) -> _Map:
    outputs = 4 * planes if bottleneck else planes
    if stride > 1 or x.channels != outputs:
        net.conv(x, outputs, 1, stride)
    if bottleneck:
        x = net.conv(net.conv(x, planes), planes, 3, stride)
        y = net.conv(x, outputs)
    else:
        y = net.conv(net.conv(x, planes, 3, stride), planes, 3)
    net.elementwise(y.elements, inputs=2)
    return y


def _ssd_mobilenet(net: _Network, image: _Map) -> None:
    x = net.conv(image, 32, 3, 2)
    blocks = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]
    maps = []
    for channels, stride in blocks:
        if (channels, stride) == (1024, 2):
            maps.append(x)
        x = net.conv(net.conv(x, x.channels, 3, stride, groups=x.channels), channels)
    maps.append(x)
    for inner, channels in ((256, 512), (128, 256), (128, 256), (64, 128)):
        x = net.conv(net.conv(x, inner), channels, 3, 2)
        maps.append(x)
    for position, x in enumerate(maps):
        boxes = 6 if position else 3
        net.conv(x, 4 * boxes)
        net.conv(x, 91 * boxes)


def _pooled(net: _Network, x: _Map) -> int:
    net._add("pool", x.elements, x.channels)
    return x.channels


@dataclass(frozen=True)
class _Yolo:
    """A size of YOLOv8 or YOLO11: factors of depth and width, and the most channels before the factor."""

    depth: float
    width: float
    most: int
    always_c3k: bool = False  # YOLO11 m, l and x use the deeper block everywhere

    def channels(self, channels: int) -> int:
        return -(-int(min(channels, self.most) * self.width) // 8) * 8

    def repeats(self, repeats: int) -> int:
        return max(round(repeats * self.depth), 1)


def _yolo11(scale: _Yolo) -> Callable[[_Network, _Map], None]:
    def build(net: _Network, image: _Map) -> None:
        def block(x: _Map, channels: int, ratio: float = 0.5, *, c3k: bool = False) -> _Map:
            deep = c3k or scale.always_c3k
            return _c3k2(net, x, scale.channels(channels), scale.repeats(2), ratio, c3k=deep)

        def down(x: _Map, channels: int) -> _Map:
            return net.silu(x, scale.channels(channels), 3, 2)

        x = block(down(down(image, 64), 128), 256, 0.25)
        p3 = block(down(x, 256), 512, 0.25)
        p4 = block(down(p3, 512), 512, c3k=True)
        x = block(down(p4, 1024), 1024, c3k=True)
        p5 = _c2psa(net, _sppf(net, x, scale.channels(1024)), scale.repeats(2))
        n4 = block(_concat(net.resize(p5, 2), p4), 512)
        out3 = block(_concat(net.resize(n4, 2), p3), 256)
        out4 = block(_concat(down(out3, 256), n4), 512)
        out5 = block(_concat(down(out4, 512), p5), 1024, c3k=True)
        _detect(net, (out3, out4, out5), depthwise=True)

    return build


def _yolov8(scale: _Yolo) -> Callable[[_Network, _Map], None]:
    def build(net: _Network, image: _Map) -> None:
        def block(x: _Map, channels: int, repeats: int) -> _Map:
            return _c2f(net, x, scale.channels(channels), scale.repeats(repeats))

        def down(x: _Map, channels: int) -> _Map:
            return net.silu(x, scale.channels(channels), 3, 2)

        p3 = block(down(block(down(down(image, 64), 128), 128, 3), 256), 256, 6)
        p4 = block(down(p3, 512), 512, 6)
        p5 = _sppf(net, block(down(p4, 1024), 1024, 3), scale.channels(1024))
        n4 = block(_concat(net.resize(p5, 2), p4), 512, 3)
        out3 = block(_concat(net.resize(n4, 2), p3), 256, 3)
        out4 = block(_concat(down(out3, 256), n4), 512, 3)
        out5 = block(_concat(down(out4, 512), p5), 1024, 3)
        _detect(net, (out3, out4, out5), depthwise=False)

    return build


def _concat(x: _Map, *others: _Map) -> _Map:
    """Nothing is copied: the layers before write into the joined map."""
    return replace(x, channels=x.channels + sum(other.channels for other in others))


def _bottleneck(net: _Network, x: _Map, inner: int) -> _Map:
    y = net.silu(net.silu(x, inner, 3), x.channels, 3)
    net.elementwise(y.elements, inputs=2)
    return y


def _c2f(net: _Network, x: _Map, channels: int, repeats: int) -> _Map:
    half = net.split(net.silu(x, channels))
    for _ in range(repeats):
        _bottleneck(net, half, half.channels)
    return net.silu(replace(half, channels=(2 + repeats) * half.channels), channels)


def _c3k2(net: _Network, x: _Map, channels: int, repeats: int, ratio: float, *, c3k: bool) -> _Map:
    inner = int(channels * ratio)
    part = net.split(net.silu(x, 2 * inner))
    for _ in range(repeats):
        if c3k:
            _c3k(net, part)
        else:
            _bottleneck(net, part, inner // 2)
    return net.silu(replace(part, channels=(2 + repeats) * inner), channels)


def _c3k(net: _Network, x: _Map) -> None:
    first = net.silu(x, x.channels // 2)
    net.silu(x, x.channels // 2)
    for _ in range(2):
        _bottleneck(net, first, first.channels)
    net.silu(x, x.channels)


def _sppf(net: _Network, x: _Map, channels: int) -> _Map:
    inner = net.silu(x, x.channels // 2)
    for _ in range(3):
        net.pool(inner)
    return net.silu(_concat(inner, inner, inner, inner), channels)


def _c2psa(net: _Network, x: _Map, repeats: int) -> _Map:
    half = net.split(net.silu(x, x.channels))
    heads, cells = half.channels // 64, half.height * half.width
    for _ in range(repeats):
        net.conv(half, 2 * half.channels)  # queries and keys have half the channels of the values
        net.matmul(cells, 32, cells, heads=heads)
        net.softmax(heads * cells * cells)
        net.matmul(64, cells, cells, heads=heads)
        net.conv(half, half.channels, 3, groups=half.channels)  # position
        net.elementwise(half.elements, inputs=2)
        net.conv(half, half.channels)
        net.elementwise(half.elements, inputs=2)
        net.conv(net.silu(half, 2 * half.channels), half.channels)
        net.elementwise(half.elements, inputs=2)
    return net.silu(x, x.channels)


def _detect(net: _Network, maps: tuple[_Map, ...], *, depthwise: bool, classes: int = 80) -> None:
    boxes = max(16, maps[0].channels // 4, 64)
    scores = max(maps[0].channels, min(classes, 100))
    anchors = 0
    for x in maps:
        net.conv(net.silu(net.silu(x, boxes, 3), boxes, 3), 64)
        if depthwise:
            y = net.silu(net.silu(x, x.channels, 3, groups=x.channels), scores)
            y = net.silu(net.silu(y, y.channels, 3, groups=y.channels), scores)
        else:
            y = net.silu(net.silu(x, scores, 3), scores, 3)
        net.conv(y, classes)
        anchors += x.height * x.width
    net.softmax(64 * anchors)  # over the 16 bins of each of the four sides
    net.conv(_Map(16, 4, anchors), 1)
    net.elementwise(4 * anchors, inputs=2)
    net.elementwise(classes * anchors)


NETWORKS: dict[str, Callable[[_Network, _Map], None]] = {
    "resnet18": _resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34": _resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50": _resnet((3, 4, 6, 3), bottleneck=True),
    "ssd-mobilenet": _ssd_mobilenet,
    "yolov8n": _yolov8(_Yolo(1 / 3, 0.25, 1024)),
    "yolov8s": _yolov8(_Yolo(1 / 3, 0.5, 1024)),
    "yolov8m": _yolov8(_Yolo(2 / 3, 0.75, 768)),
    "yolo11n": _yolo11(_Yolo(0.5, 0.25, 1024)),
    "yolo11s": _yolo11(_Yolo(0.5, 0.5, 1024)),
    "yolo11m": _yolo11(_Yolo(0.5, 1.0, 512, always_c3k=True)),
    "yolo11l": _yolo11(_Yolo(1.0, 1.0, 512, always_c3k=True)),
    "yolo11x": _yolo11(_Yolo(1.0, 1.5, 512, always_c3k=True)),
}
