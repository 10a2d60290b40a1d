// Draws a page's plotly figures. The library lies compressed in the page; figures that ask for it before it
// is unpacked wait for it.
(() => {
  const waiting = [];
  window.Plotly = { newPlot: (...call) => waiting.push(call) };

  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

  // A picture hangs on its camera's image plane as one quad of two triangles a pixel. Vertices and triangles
  // follow from the corners and the size, so that a page holds only these and the colours.
  function withPictures(trace) {
    const pictures = trace.meta?.pictures;
    if (!pictures) return trace;
    const x = [], y = [], z = [], i = [], j = [], k = [], facecolor = [];
    for (const { width, height, corners, rgb } of pictures) {
      const [topLeft, topRight, , bottomLeft] = corners;
      const colours = bytes(rgb), first = x.length, columns = width + 1;
      for (let row = 0; row <= height; row++) {
        for (let column = 0; column <= width; column++) {
          const [px, py, pz] = topLeft.map((start, axis) =>
            start + (column / width) * (topRight[axis] - start) + (row / height) * (bottomLeft[axis] - start));
          x.push(px); y.push(py); z.push(pz);
        }
      }
      for (let pixel = 0; pixel < width * height; pixel++) {
        const upper = first + Math.floor(pixel / width) * columns + (pixel % width), lower = upper + columns;
        i.push(upper, upper); j.push(upper + 1, lower + 1); k.push(lower + 1, lower);
        const colour = `rgb(${colours.subarray(3 * pixel, 3 * pixel + 3).join(",")})`;
        facecolor.push(colour, colour);
      }
    }
    return { ...trace, meta: undefined, x, y, z, i, j, k, facecolor };
  }

  async function unpack(base64) {
    const unzipped = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unzipped).text();
    document.head.append(script);
    const newPlot = Plotly.newPlot;
    Plotly.newPlot = (place, data, ...rest) => newPlot(place, data.map(withPictures), ...rest);
    for (const call of waiting) Plotly.newPlot(...call);
  }

  window.addEventListener("DOMContentLoaded", () =>
    unpack(document.getElementById("plotly-gzip").textContent).catch((error) => {
      for (const [place] of waiting) {
        document.getElementById(place).textContent =
          `This figure cannot be drawn: it needs a browser with DecompressionStream (from 2023 on). ${error}`;
      }
    }));
})();
