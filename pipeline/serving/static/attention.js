// What the heads attended to: patches over the picture and words of the text, by layer and head; weights of modalities.
import { bars, make, percent, say } from "./page.js"

const LARGEST = 800 // pixels of the overlay's longer side
const MEAN = "" // the choice of all layers, or all heads

const mean = (many) => many[0].map((_, at) => many.reduce((sum, one) => sum + one[at], 0) / many.length)

// The weights of an encoder as a flat list: of the mean over all, or of one layer and one head of it; null without it.
function weightsOf(found, layer, head) {
  if (layer === MEAN) return found.weights.flat()
  const heads = found.layers[layer]?.map((one) => one.flat())
  if (!heads) return null
  return head === MEAN ? mean(heads) : (heads[Number(head)] ?? null)
}

// Darken what had less weight; what lies beyond the box, which the encoder does not see, most.
function drawPatches(canvas, found, weights, strength) {
  const [rows, columns] = [found.weights.length, found.weights[0].length]
  const scale = canvas.width / found.size[1]
  const [top, left, bottom, right] = found.box.map((edge) => edge * scale)
  const context = canvas.getContext("2d")
  const shade = (share) => `rgba(6, 10, 22, ${0.86 * strength * (1 - share)})`
  context.clearRect(0, 0, canvas.width, canvas.height)
  context.fillStyle = shade(0)
  context.fillRect(0, 0, canvas.width, canvas.height)
  if (!weights) return
  const most = Math.max(...weights) || 1
  const edge = (start, end, at, parts) => Math.round(start + ((end - start) * at) / parts)
  weights.forEach((weight, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns]
    const [x, y] = [edge(left, right, column, columns), edge(top, bottom, row, rows)]
    const place = [x, y, edge(left, right, column + 1, columns) - x, edge(top, bottom, row + 1, rows) - y]
    context.clearRect(...place)
    context.fillStyle = shade(weight / most)
    context.fillRect(...place)
  })
}

function overlay(found, picture, chosen) {
  const [height, width] = found.size
  const scale = Math.min(1, LARGEST / Math.max(height, width))
  const canvas = make("canvas", { width: Math.round(width * scale), height: Math.round(height * scale), "aria-hidden": "true" })
  const alt = say("Picture with the attention of the heads")
  const show = () => drawPatches(canvas, found, weightsOf(found, chosen.layer, chosen.head), chosen.strength)
  return [make("div", { class: "overlay" }, make("img", { src: picture, alt }), canvas), show]
}

function words(found, chosen) {
  const spans = found.words.map((word) => make("span", {}, word))
  const show = () => {
    const weights = weightsOf(found, chosen.layer, chosen.head)
    const most = Math.max(...(weights ?? [1])) || 1
    spans.forEach((span, at) => {
      span.title = weights ? percent(weights[at]) : ""
      const strength = weights ? Math.round((48 * weights[at]) / most) : 0
      span.style.backgroundColor = `color-mix(in srgb, var(--accent) ${strength}%, transparent)`
    })
  }
  return [make("p", { class: "words", dir: "auto" }, ...spans.flatMap((span) => [span, " "])), show]
}

function choice(id, text, names, change) {
  const options = names.map(([value, name]) => make("option", { value }, name))
  const select = make("select", { id, onchange: () => change(select.value) }, ...options)
  return make("div", {}, make("label", { for: id }, say(text)), select)
}

// Choices of a layer and of one of its heads, where there are several.
function choices(encoders, chosen, show) {
  const layers = {}
  for (const { layers: own } of encoders) for (const [name, heads] of Object.entries(own)) layers[name] = Math.max(layers[name] ?? 0, heads.length)
  const head = make("div", {})
  const chooseLayer = (layer) => {
    Object.assign(chosen, { layer, head: MEAN })
    const count = layers[layer] ?? 1
    const numbers = Array.from({ length: count }, (_, at) => [at, at + 1])
    head.replaceChildren(...(count > 1 ? [choice("head", "Attention head", [[MEAN, say("mean")], ...numbers], (own) => { chosen.head = own; show() })] : []))
    show()
  }
  const names = Object.keys(layers).map((name) => [name, name])
  if (names.length === 1) {
    chooseLayer(names[0][0])
    return head.childElementCount ? [make("div", { class: "choices" }, head)] : []
  }
  return [make("div", { class: "choices" }, choice("layer", "Layer", [[MEAN, say("mean")], ...names], chooseLayer), head)]
}

function slider(chosen, show) {
  const range = make("input", { type: "range", id: "strength", min: 0, max: 100, value: 100 * chosen.strength })
  range.addEventListener("input", () => { chosen.strength = range.value / 100; show() })
  return make("div", { class: "slider" }, make("label", { for: "strength" }, say("Strength of the overlay")), range)
}

// The parts of the page about attention; none for heads without.
export function attentionParts(found, picture) {
  const chosen = { layer: MEAN, head: MEAN, strength: 0.85 }
  const shown = []
  const show = () => shown.forEach((one) => one())
  const parts = []
  const pictures = picture ? found.images.filter(({ box }) => box) : []
  const name = (one, all) => (all.length > 1 ? [make("h3", {}, one.encoder)] : [])
  for (const one of pictures) {
    const [element, draw] = overlay(one, picture, chosen)
    shown.push(draw)
    parts.push(...name(one, pictures), element)
  }
  if (pictures.length) parts.push(slider(chosen, show))
  for (const one of found.texts) {
    const [element, draw] = words(one, chosen)
    shown.push(draw)
    parts.push(...name(one, found.texts), element)
  }
  if (parts.length) parts.unshift(...choices([...pictures, ...found.texts], chosen, show))
  show()
  const shares = Object.entries(found.modality_weights).map(([side, share]) => [say(side), share])
  if (shares.length && parts.length) parts.push(make("h3", { class: "shares" }, say("Weights of the modalities")))
  if (shares.length) parts.push(bars(Object.fromEntries(shares)))
  parts.push(...found.notes.map((note) => make("p", { class: "soft", lang: "en" }, make("bdi", {}, note))))
  return parts
}
