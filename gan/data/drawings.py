"""The built-in images: 6,000 drawings of ships on water, 32x32 RGB.

They stand in for CIFAR-10's ships where that cannot be had. Only additions, products,
divisions, square roots and comparisons are used, on random bits whose stream is fixed:
IEEE 754 rounds all of these alike everywhere, so every machine draws the same bytes.
(Sines and exponentials differ in the last bit between processors.)

Lengths are in pixels, y points down; a ship's own coordinates are u along its length,
-1 at the stern and 1 at the bow, and v upwards from the waterline, 1 at the deck.
"""

from collections.abc import Callable, Sequence

import numpy as np

VERSION = 1  # of the drawings: a change of any pixel makes it another data set
NUM_TRAIN, NUM_TEST = 5000, 1000
SEED = 8
SIZE = 32
CHUNK = 200  # drawings at a time, so that they stay in the processor's cache

Array = np.ndarray

# Sky at the zenith, sky at the horizon, water far off, water near: one row a weather.
WEATHERS = np.array(
    [
        [[60, 120, 200], [170, 205, 235], [70, 120, 160], [25, 65, 115]],  # clear noon
        [[110, 160, 215], [205, 222, 235], [95, 140, 150], [40, 90, 105]],  # hazy, green water
        [[130, 138, 148], [188, 192, 196], [120, 130, 138], [75, 88, 98]],  # overcast
        [[80, 70, 120], [245, 165, 95], [170, 115, 90], [60, 50, 75]],  # sunset
        [[150, 160, 200], [248, 214, 190], [170, 165, 175], [90, 105, 135]],  # dawn
        [[30, 45, 85], [95, 115, 145], [45, 62, 88], [18, 28, 48]],  # dusk
        [[175, 190, 198], [215, 220, 220], [175, 188, 190], [120, 142, 148]],  # fog
        [[25, 110, 205], [150, 210, 240], [40, 165, 185], [15, 105, 150]],  # tropical
    ],
    np.float32,
)
HULLS = np.array(
    [[35, 38, 45], [150, 32, 30], [235, 235, 232], [28, 55, 110], [30, 85, 65], [95, 65, 45], [120, 125, 130], [205, 120, 35]],
    np.float32,
)  # fmt: skip
CONTAINERS = np.array(
    [[170, 50, 40], [40, 80, 150], [60, 120, 70], [200, 140, 50], [150, 150, 150], [215, 215, 210]], np.float32
)
WHITE = np.array([[240, 240, 236]], np.float32)
DARK = np.array([[40, 48, 58]], np.float32)
GREY = np.array([[138, 146, 152]], np.float32)
BOTTOM = np.array([[125, 38, 34]], np.float32)


class Dice:
    """Uniform numbers made of PCG64's bits, whose stream no release of NumPy changes."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniform(self, *shape: int) -> Array:
        """Draw float32 numbers in [0, 1)."""
        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(40)  # 24 bits: exact in float32
        return (raw.astype(np.float32) * np.float32(2.0**-24)).reshape(shape)

    def between(self, low: float, high: float, count: int) -> Array:
        """Draw one number an image.

        Args:
            low: least value.
            high: bound above.
            count: number of images.

        Returns:
            (count, 1, 1) float32 in [low, high), but for rounding.
        """
        return np.float32(low) + np.float32(high - low) * self.uniform(count, 1, 1)

    def index(self, options: int, count: int) -> Array:
        return np.minimum((self.uniform(count) * options).astype(np.int64), options - 1)

    def coin_flips(self, probability: float, count: int) -> Array:
        """Draw (count, 1, 1) float32, 1 with the given probability, else 0."""
        return (self.uniform(count, 1, 1) < probability).astype(np.float32)


def draw() -> tuple[Array, Array]:
    """Draw (NUM_TRAIN, 32, 32, 3) and (NUM_TEST, 32, 32, 3) uint8, always the same."""
    dice = Dice(SEED)
    total = NUM_TRAIN + NUM_TEST
    chunks = [_chunk(dice, min(CHUNK, total - start)) for start in range(0, total, CHUNK)]
    images = np.concatenate(chunks)
    return images[:NUM_TRAIN], images[NUM_TRAIN:]


def _chunk(dice: Dice, count: int) -> Array:
    scene = Scene(dice, count)
    scene.sky()
    scene.sea()
    kinds = dice.index(len(KINDS), count)
    for kind, build in enumerate(KINDS):
        chosen = np.flatnonzero(kinds == kind)
        if len(chosen):
            build(Ship(dice, scene, chosen))
    return scene.develop()


class Scene:
    """The images of a chunk while they are painted: (n, 32, 32, 3) float32 in [0, 255]."""

    def __init__(self, dice: Dice, count: int) -> None:
        self.dice, self.count = dice, count
        self.x = (np.arange(SIZE, dtype=np.float32) + np.float32(0.5)).reshape(1, 1, SIZE)
        self.y = self.x.reshape(1, SIZE, 1)
        self.horizon = dice.between(9, 20, count)
        blend = dice.uniform(count, 1, 1) * np.float32(0.6)
        weather = WEATHERS[dice.index(len(WEATHERS), count)], WEATHERS[dice.index(len(WEATHERS), count)]
        self.palette = weather[0] * (1 - blend) + weather[1] * blend  # (n, 4, 3)
        self.palette += (dice.uniform(count, 4, 3) - np.float32(0.5)) * np.float32(24)
        self.sun = dice.between(-4, 36, count)
        self.below = _coverage(self.y - self.horizon)  # (n, 32, 1): 1 where there is water
        self.pixels = np.empty((count, SIZE, SIZE, 3), np.float32)

    def colour(self, part: int) -> Array:
        return self.palette[:, part]

    def paint(self, coverage: Array, colour: Array, chosen: Array | None = None) -> None:
        """Lay a colour over images, as far as a coverage says.

        Args:
            coverage: (k, 32, 32) float32 in [0, 1]: 0 keeps a pixel, 1 replaces it.
            colour: (k, 3) float32 in [0, 255], one an image, or (1, 3) for all.
            chosen: (k,) integers, which images are painted; None for all n, and k is n then.
        """
        rows = np.flatnonzero(coverage.max(axis=(0, 2)) > 0)
        if not len(rows):
            return
        band = slice(rows[0], rows[-1] + 1)
        layer = coverage[:, band, :, None]
        if chosen is None:
            target = self.pixels[:, band]
            target += layer * (colour[:, None, None] - target)
        else:
            target = self.pixels[chosen, band]
            target += layer * (colour[:, None, None] - target)
            self.pixels[chosen, band] = target

    def sky(self) -> None:
        height = (np.clip(self.y / self.horizon, 0, 1))[..., None]
        zenith, far = self.colour(0)[:, None, None], self.colour(1)[:, None, None]
        self.pixels[:] = zenith + (far - zenith) * (height * height)
        distance = ((self.x - self.sun) / 9) ** 2 + ((self.y - self.horizon + 4) / 7) ** 2
        self.paint(np.float32(0.55) / (1 + distance), np.minimum(self.colour(1) + 45, 255))
        noise = _noise(self.dice, self.count, 4, 9) * np.float32(0.65) + _noise(
            self.dice, self.count, 9, 16
        ) * np.float32(0.35)
        clouds = np.clip((noise - self.dice.between(0.45, 0.85, self.count)) * 4, 0, 1) * np.float32(0.75)
        self.paint(clouds * (1 - self.below), np.minimum(self.colour(1) + 28, 255))
        # On a third of the images a coast in the haze.
        ridge = _noise(self.dice, self.count, 6, 2)[:, :1] * self.dice.between(2, 8, self.count)
        coast = _coverage(self.y - self.horizon + ridge) * self.dice.coin_flips(0.33, self.count)
        land = np.array([[70, 90, 70]], np.float32) * np.float32(0.5) + self.colour(1) * np.float32(0.5)
        self.paint(coast * np.float32(0.85), land)

    def sea(self) -> None:
        depth = np.clip((self.y - self.horizon) / (SIZE - self.horizon), 0, 1)[..., None]
        far, near = self.colour(2)[:, None, None], self.colour(3)[:, None, None]
        water = far + (near - far) * depth
        ripples = self.dice.uniform(self.count, SIZE, SIZE) - np.float32(0.5)
        for shift in (1, 2, 1):  # wide and flat, as waves are seen
            ripples = (ripples + np.roll(ripples, shift, axis=2)) * np.float32(0.5)
        swell = _wave(
            (self.y * self.y * np.float32(0.035) + self.x * self.dice.between(-0.06, 0.06, self.count))
            + self.dice.between(0, 1, self.count)
        )
        strength = self.dice.between(10, 60, self.count) * (np.float32(0.35) + depth[..., 0])
        water = water + ((ripples * 2 + swell * np.float32(0.25)) * strength)[..., None]
        self.pixels += self.below[..., None] * (water - self.pixels)
        glitter = np.float32(0.6) / (1 + ((self.x - self.sun) / 3) ** 2) * (ripples > np.float32(0.02))
        self.paint(glitter * self.below * self.dice.coin_flips(0.5, self.count), np.minimum(self.colour(1) + 40, 255))

    def develop(self) -> Array:
        """Apply lens, light and sensor: a slight blur, exposure, grain; then bytes."""
        image = self.pixels
        soft = self.dice.between(0.0, 0.18, self.count)[..., None]
        for axis in (1, 2):
            before = np.concatenate([np.take(image, [0], axis), np.take(image, range(SIZE - 1), axis)], axis)
            after = np.concatenate([np.take(image, range(1, SIZE), axis), np.take(image, [SIZE - 1], axis)], axis)
            image = image * (1 - 2 * soft) + (before + after) * soft
        exposure, contrast = (
            self.dice.between(-18, 18, self.count)[..., None],
            self.dice.between(0.85, 1.15, self.count)[..., None],
        )
        grain = (self.dice.uniform(self.count, SIZE, SIZE, 1) - np.float32(0.5)) * 8
        image = (image - 128) * contrast + 128 + exposure + grain
        return np.clip(np.floor(image + np.float32(0.5)), 0, 255).astype(np.uint8)


class Ship:
    """One kind of ship on some of a scene's images, each of its own size, place and heading.

    Args:
        dice: random numbers; the draws continue its stream.
        scene: the images to paint on.
        chosen: (k,) integers, which of them get a ship. Arrays below have one entry for each.
    """

    def __init__(self, dice: Dice, scene: Scene, chosen: Array) -> None:
        self.dice, self.scene, self.chosen, self.count = dice, scene, chosen, len(chosen)
        self.fog = self.between(0.0, 0.3)

    def between(self, low: float, high: float) -> Array:
        return self.dice.between(low, high, self.count)

    def some(self, probability: float) -> Array:
        return self.dice.coin_flips(probability, self.count)

    def one_of(self, colours: Array) -> Array:
        return colours[self.dice.index(len(colours), self.count)]

    def place(self, length: tuple[float, float], freeboard: tuple[float, float]) -> None:
        """Choose place and size: `length` in pixels, `freeboard` as a fraction of it."""
        length_px = self.between(*length)
        near = (length_px - 8) / 22  # larger ships are nearer, so lower in the image
        horizon = self.scene.horizon[self.chosen]
        self.waterline = np.minimum(horizon + np.float32(0.8) + near * self.between(2, 9), np.float32(27.5))
        self.half = length_px * self.between(0.62, 1.0) / 2  # turned towards us, it looks shorter
        self.deck = length_px * self.between(*freeboard)
        middle = 16 + self.between(-5, 5) * (1 - near * np.float32(0.6))
        heading = 1 - 2 * self.some(0.5)
        self.u = heading * (self.scene.x - middle) / self.half
        self.v = (self.waterline - self.scene.y) / self.deck

    def paint(self, coverage: Array, colour: Array) -> None:
        haze = self.scene.colour(1)[self.chosen]
        fog = self.fog[:, :, 0]
        self.scene.paint(coverage, colour + (haze - colour) * fog, self.chosen)

    def hull(
        self, colour: Array, rake: float = 0.3, sheer: float = 0.35, stern: float = 0.1, bottom: float = 0.0
    ) -> None:
        """Paint a hull with raked bow and stern and a deck that rises to the bow; its shadow on the water first.

        Args:
            colour: (k, 3) float32 in [0, 255], or (1, 3) for all.
            rake: how much shorter the bow is at the waterline than at the deck, in u.
            sheer: how far the deck rises to the bow, in v: by 1.44 times this at u = 1.
            stern: how much shorter the stern is at the waterline than at the deck, in u.
            bottom: height up to which the red bottom shows, in v.
        """
        shape = self._hull(self.v, rake, sheer, stern)
        mirrored = self._hull(-self.v * np.float32(0.8), rake, sheer, stern)
        self.paint(
            mirrored * np.float32(0.45),
            colour * np.float32(0.35) + self.scene.colour(3)[self.chosen] * np.float32(0.35),
        )
        self.paint(shape, colour)
        light = self.between(-0.3, 0.3)
        self.paint(shape * np.clip(light * self.u, 0, 1), WHITE)
        self.paint(np.minimum(shape, _coverage((np.float32(bottom) - self.v) * self.deck)), BOTTOM)
        foam = np.clip(1 - np.abs(self.v * self.deck) * np.float32(0.9), 0, 1) * _coverage(
            (np.float32(1.08) - np.abs(self.u)) * self.half
        )
        self.paint(foam * self.between(0.0, 0.7), WHITE)

    def _hull(self, v: Array, rake: float, sheer: float, stern: float) -> Array:
        bow = 1 - np.float32(rake) * (1 - v)
        back = -1 + np.float32(stern) * (1 - v)
        rise = np.clip(self.u + np.float32(0.2), 0, 2)
        top = 1 + np.float32(sheer) * rise * rise
        edges = [
            (bow - self.u) * self.half,
            (self.u - back) * self.half,
            (top - v) * self.deck,
            v * self.deck + np.float32(0.4),
        ]
        return _inside(edges)

    def box(
        self,
        left: Array | float,
        right: Array | float,
        low: Array | float,
        high: Array | float,
        colour: Array,
        lean: float = 0.0,
    ) -> None:
        """Paint a block from u = left to right and v = low to high, its sides leaning to the stern.

        Args:
            left: end towards the stern, in u; a number or (k, 1, 1).
            right: end towards the bow, in u; likewise.
            low: lower edge, in v; likewise.
            high: upper edge, in v; likewise.
            colour: (k, 3) float32 in [0, 255], or (1, 3) for all.
            lean: how far the sides move to the stern, in u, for each unit of v above `low`.
        """
        shift = np.float32(lean) * (self.v - low)
        edges = [
            (self.u - left + shift) * self.half,
            (right - self.u - shift) * self.half,
            (self.v - low) * self.deck,
            (high - self.v) * self.deck,
        ]
        self.paint(_inside(edges), colour)

    def windows(self, left: Array | float, right: Array | float, v: Array | float, colour: Array = DARK) -> None:
        """Paint a row of portholes: dark and light in turn, as far as pixels allow.

        Args:
            left: end towards the stern, in u; a number or (k, 1, 1).
            right: end towards the bow, in u; likewise.
            v: height of the middle of the row; likewise. The row is 1.1 pixels high.
            colour: (k, 3) float32 in [0, 255], or (1, 3) for all.
        """
        thickness = np.float32(0.55) / self.deck
        row = _inside(
            [
                (self.u - left) * self.half,
                (right - self.u) * self.half,
                (self.v - v + thickness) * self.deck,
                (v + thickness - self.v) * self.deck,
            ]
        )
        dots = np.float32(0.6) + np.float32(0.4) * _wave(self.u * self.half * np.float32(0.5))
        self.paint(row * dots * np.float32(0.85), colour)

    def sail(self, foot: Array, luff: Array, low: Array | float, high: Array, colour: Array) -> None:
        """Paint a triangle: from u = foot on the boom to the mast at u = luff, between two heights.

        Args:
            foot: the corner on the boom, in u, (k, 1, 1).
            luff: the mast, in u, (k, 1, 1).
            low: height of the boom, in v; a number or (k, 1, 1).
            high: height of the top, in v, (k, 1, 1); above `low`.
            colour: (k, 3) float32 in [0, 255], or (1, 3) for all.
        """
        fraction = (self.v - low) / (high - low)
        edge = luff + (foot - luff) * (1 - fraction)
        left, right = np.minimum(edge, luff), np.maximum(edge, luff)
        edges = [
            (self.u - left) * self.half,
            (right - self.u) * self.half,
            (self.v - low) * self.deck,
            (high - self.v) * self.deck,
        ]
        self.paint(_inside(edges), colour)

    def mast(self, u: Array | float, high: Array | float, colour: Array = DARK) -> None:
        """Paint a mast, 0.7 pixels wide, from just below the deck upwards.

        Args:
            u: its place along the ship; a number or (k, 1, 1).
            high: height of its top, in v; likewise.
            colour: (k, 3) float32 in [0, 255], or (1, 3) for all.
        """
        width = np.float32(0.35) / self.half
        self.box(u - width, u + width, 0.9, high, colour)


def _freighter(ship: Ship) -> None:
    ship.place((18, 30), (0.10, 0.16))
    ship.hull(ship.one_of(HULLS), rake=0.22, sheer=0.25, bottom=0.35)
    bridge = ship.between(-0.95, -0.8)
    heights = ship.between(1.3, 2.6)
    for k in range(5):  # stacks of containers, or cranes' houses where they are low
        left = bridge + np.float32(0.34) + np.float32(k * 0.27)
        ship.box(left, left + np.float32(0.24), 0.95, heights + ship.between(-0.5, 0.5), ship.one_of(CONTAINERS))
    ship.box(bridge, bridge + np.float32(0.3), 0.95, ship.between(2.6, 3.8), WHITE)
    ship.windows(bridge, bridge + np.float32(0.3), 2.4)
    ship.box(bridge + np.float32(0.02), bridge + np.float32(0.14), 2.4, ship.between(3.6, 4.6), ship.one_of(HULLS))
    ship.mast(ship.between(0.6, 0.85), ship.between(2.5, 4.0))


def _liner(ship: Ship) -> None:
    ship.place((18, 31), (0.10, 0.15))
    ship.hull(ship.one_of(HULLS[[0, 2, 3, 2]]), rake=0.4, sheer=0.3, bottom=0.25)
    aft, fore = ship.between(-0.9, -0.75), ship.between(0.35, 0.6)
    for deck in range(3):
        low = 0.95 + 0.75 * deck
        inset = np.float32(0.1 * deck)
        ship.box(aft + inset, fore - inset, low, low + 0.8, WHITE - np.float32(8 * deck), lean=0.06)
        ship.windows(aft + inset, fore - inset, low + 0.4)
    ship.windows(-0.85, 0.8, 0.6, DARK * np.float32(0.6) + 80)
    funnel = ship.one_of(HULLS[[0, 1, 3, 7]])
    for place in (ship.between(-0.5, -0.3), ship.between(-0.05, 0.1)):
        ship.box(place, place + np.float32(0.16), 2.9, ship.between(3.8, 4.8), funnel, lean=0.05)
    ship.mast(ship.between(0.3, 0.5), ship.between(3.6, 4.6))


def _sailing(ship: Ship) -> None:
    ship.place((12, 22), (0.09, 0.15))
    ship.hull(ship.one_of(HULLS[[0, 2, 2, 3, 5]]), rake=0.45, sheer=0.25, stern=0.3)
    cloth = WHITE * np.float32(0.75) + ship.one_of(np.concatenate([WHITE, WHITE, WHITE, CONTAINERS])) * np.float32(0.25)
    height = ship.between(7.5, 11.5)
    mast = ship.between(-0.15, 0.15)
    ship.mast(mast, height + np.float32(0.4))
    ship.sail(mast - ship.between(0.6, 0.9), mast - np.float32(0.03), 1.7, height, cloth)
    ship.sail(
        mast + ship.between(0.55, 0.85), mast + np.float32(0.05), 1.4, height * ship.between(0.7, 0.95), cloth - 14
    )
    second = mast - ship.between(0.65, 0.85)
    tall = 1 + (height * np.float32(0.72) - 1) * ship.some(0.4)  # some carry a mizzen
    ship.mast(second, tall)
    ship.sail(second - np.float32(0.3), second, 1.0, np.maximum(tall, np.float32(1.05)), cloth - 8)


def _trawler(ship: Ship) -> None:
    ship.place((12, 22), (0.16, 0.24))
    ship.hull(ship.one_of(HULLS), rake=0.25, sheer=0.5, stern=0.05, bottom=0.3)
    house = ship.between(-0.25, 0.3)
    ship.box(house - np.float32(0.25), house + np.float32(0.28), 0.95, ship.between(1.9, 2.4), WHITE)
    ship.windows(house - np.float32(0.22), house + np.float32(0.26), 1.7)
    ship.box(
        house - np.float32(0.18),
        house + np.float32(0.15),
        1.9,
        ship.between(2.4, 2.9),
        ship.one_of(np.concatenate([WHITE, HULLS])),
    )
    ship.box(house - np.float32(0.42), house - np.float32(0.27), 0.95, ship.between(2.0, 2.6), ship.one_of(HULLS))
    ship.mast(house, ship.between(3.4, 4.6))
    aft = ship.between(-0.8, -0.6)
    ship.mast(aft, ship.between(2.4, 3.6))
    ship.sail(
        aft + np.float32(0.5),
        aft,
        1.0,
        ship.between(2.2, 3.2),
        DARK * np.float32(0.5) + ship.scene.colour(1)[ship.chosen] * np.float32(0.5),
    )


def _warship(ship: Ship) -> None:
    ship.place((20, 31), (0.08, 0.12))
    paint = GREY + ship.between(-35, 25)[:, :, 0]
    ship.hull(paint, rake=0.45, sheer=0.35, bottom=0.15)
    middle = ship.between(-0.15, 0.1)
    for tier, (half_width, low, high) in enumerate(((0.45, 0.95, 1.9), (0.26, 1.8, 2.9), (0.12, 2.8, 4.1))):
        ship.box(
            middle - np.float32(half_width),
            middle + np.float32(half_width),
            low,
            high,
            paint + np.float32(10 * tier - 6),
            lean=0.04,
        )
    ship.windows(middle - np.float32(0.24), middle + np.float32(0.24), 2.5)
    ship.box(middle - np.float32(0.55), middle - np.float32(0.38), 1.2, ship.between(2.6, 3.4), paint - 22, lean=0.08)
    ship.box(0.5, 0.66, 1.2, 1.9, paint - 15)
    ship.box(0.6, 0.85, 1.55, 1.8, paint - 30)
    ship.mast(middle, ship.between(4.8, 6.2), DARK + 40)


def _motorboat(ship: Ship) -> None:
    ship.place((12, 26), (0.12, 0.18))
    # The wake first: foam behind the boat and spray at its bow.
    wake = _inside(
        [
            (np.float32(-0.5) - ship.u) * ship.half,
            (ship.u + np.float32(2.4)) * ship.half,
            (np.float32(0.35) + (ship.u + 1) * np.float32(0.15) - ship.v) * ship.deck,
            (ship.v + np.float32(0.5)) * ship.deck,
        ]
    )
    ship.paint(wake * ship.between(0.2, 0.9), WHITE)
    ship.hull(ship.one_of(HULLS[[2, 2, 1, 3, 7]]), rake=0.75, sheer=0.25, stern=0.05)
    ship.box(-0.95, 0.7, 0.55, 0.8, ship.one_of(np.concatenate([HULLS, WHITE])))
    cabin = ship.between(-0.6, -0.35)
    ship.box(cabin, cabin + ship.between(0.5, 0.75), 0.95, ship.between(1.7, 2.5), WHITE, lean=0.22)
    ship.windows(cabin + np.float32(0.05), cabin + np.float32(0.45), 1.5)
    roof = ship.some(0.5) * ship.between(1.0, 1.4)
    ship.box(cabin, cabin + np.float32(0.35), 1.8, 1.8 + roof, WHITE - 10, lean=0.2)
    ship.mast(cabin + np.float32(0.15), ship.between(2.2, 3.8), DARK + 60)


KINDS: Sequence[Callable[[Ship], None]] = (_freighter, _liner, _sailing, _trawler, _warship, _motorboat)


def _coverage(distance: Array) -> Array:
    """Return the fraction of a pixel inside an edge, by its centre's distance to the edge in pixels."""
    return np.clip(distance + np.float32(0.5), 0, 1)


def _inside(distances: Sequence[Array]) -> Array:
    """Return the coverage of a convex shape by the distances to its edges, positive inside."""
    least = distances[0]
    for distance in distances[1:]:
        least = np.minimum(least, distance)
    return _coverage(least)


def _wave(phase: Array) -> Array:
    """Return a smooth wave of period 1 in [-1, 1], of two parabolas: much like a sine."""
    t = phase - np.floor(phase)
    side = np.where(t < np.float32(0.5), np.float32(1), np.float32(-1))
    t = np.where(t < np.float32(0.5), t, t - np.float32(0.5))
    return side * 16 * t * (np.float32(0.5) - t)


def _noise(dice: Dice, count: int, columns: int, rows: int) -> Array:
    """Smooth random relief (count, 32, 32) in [0, 1): a coarse lattice, interpolated."""
    lattice = dice.uniform(count, rows + 1, columns + 1)
    for axis, cells in ((1, rows), (2, columns)):
        position = np.arange(SIZE, dtype=np.float32) * np.float32(cells / SIZE)
        cell = position.astype(np.int64)
        t = position - cell.astype(np.float32)
        t = (t * t * (3 - 2 * t)).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        lattice = np.take(lattice, cell, axis) * (1 - t) + np.take(lattice, cell + 1, axis) * t
    return lattice
