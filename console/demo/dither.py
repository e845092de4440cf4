"""Floyd-Steinberg dithering as a function, for the runtime python/3.N: PGM in, dithered PGM out.

This text is sent as the program, and imported here for the check. dither.c computes the same pixels.
"""

PASSES = 1  # every pass dithers the whole picture anew: how much work a strip is, and nothing else


def dither(picture: bytes) -> bytes:
    """Dither a greyscale PGM (P5, 255). Raises ValueError for anything else. O(pixels * PASSES)."""
    kind, size, most, pixels = picture.split(b"\n", 3)
    header = picture[: len(picture) - len(pixels)]
    width, height = (int(number) for number in size.split())
    if kind != b"P5" or most != b"255" or len(pixels) != width * height:
        raise ValueError("no greyscale PGM (P5, 255), or not as large as its header says")
    output = b""
    for _ in range(PASSES):
        output = _one_pass(pixels, width)
    return header + output


def _one_pass(pixels: bytes, width: int) -> bytes:
    """Errors are kept in sixteenths; shifts round down, as in dither.c."""
    output = bytearray(len(pixels))
    here = [0] * (width + 2)
    for start in range(0, len(pixels), width):
        below = [0] * (width + 2)
        right = 0
        for x in range(width):
            value = pixels[start + x] + ((here[x + 1] + right + 8) >> 4)
            if value > 127:
                output[start + x] = 255
                error = value - 255
            else:
                error = value
            right = 7 * error
            below[x] += 3 * error
            below[x + 1] += 5 * error
            below[x + 2] += error
        here = below
    return bytes(output)
