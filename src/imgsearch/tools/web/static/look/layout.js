// Justified rows: where each image lies, from aspect ratios alone, computed once into typed arrays.

/**
 * Break images into rows of about one height that fill the width, section by section.
 * aspects: Float32Array of width / height; sections: [{start, count, heading}], in order and without gaps.
 * Returns rows: `first` (rows + 1 indexes), `top`, `height` in pixels from the grid's top, `section` of each row;
 * and `sectionTop` (sections + 1). A section's last row is not stretched.
 */
export function arrange(aspects, sections, { width, target, gap, heading }) {
  const first = [], top = [], height = [], section = [];
  const sectionTop = new Float64Array(sections.length + 1);
  let y = 0;
  sections.forEach(({ start, count, heading: has }, number) => {
    sectionTop[number] = y;
    if (has) y += heading;
    const end = start + count;
    for (let from = start; from < end;) {
      let to = from, sum = 0;
      // At the row's end its height without the next image is compared with that with it.
      while (to < end) {
        const wider = sum + aspects[to], with_ = (width - gap * (to - from)) / wider;
        if (to > from && with_ < target) {
          const without = (width - gap * (to - from - 1)) / sum;
          if (without / target < target / with_) break;
          sum = wider;
          to += 1;
          break;
        }
        sum = wider;
        to += 1;
      }
      let tall = (width - gap * (to - from - 1)) / sum;
      if (tall > target * (to === end ? 1 : 1.6)) tall = target * (to === end ? 1 : 1.6);
      first.push(from);
      top.push(y);
      height.push(Math.max(1, Math.round(tall)));
      section.push(number);
      y += height[height.length - 1] + gap;
      from = to;
    }
    if (count) y += has ? gap * 3 : 0;
  });
  sectionTop[sections.length] = y;
  const rows = first.length;
  first.push(sections.length ? sections.at(-1).start + sections.at(-1).count : 0);
  return {
    rows, sectionTop, total: y,
    first: Int32Array.from(first), top: Float64Array.from(top),
    height: Int32Array.from(height), section: Int32Array.from(section),
  };
}

/** The last position of a sorted array whose value is at most `value`; 0 if there is none. */
export function lastAt(sorted, value, length = sorted.length) {
  let low = 0, high = length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (sorted[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Where an image's tile begins and how wide it is in its row, in whole pixels. */
export function* places(aspects, layout, row, { width, gap }) {
  const from = layout.first[row], to = layout.first[row + 1], tall = layout.height[row];
  let sum = 0;
  for (let i = from; i < to; i++) sum += aspects[i];
  const full = (width - gap * (to - from - 1)) / sum;
  const scale = Math.abs(full - tall) <= 0.5 ? full : tall;
  let x = 0;
  for (let i = from; i < to; i++) {
    const left = Math.round(x);
    x += aspects[i] * scale + gap;
    yield [i, left, Math.round(x - gap) - left];
  }
}
