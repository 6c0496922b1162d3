// The page: what both views share, and the view that tries a post.
import { attentionParts } from "./attention.js"
import { given, openPost, postCard, startPosts } from "./posts.js"

const config = JSON.parse(document.body.dataset.config)

// A text of the page in its language, with {name} filled in.
export function say(english, values = {}) {
  return config.words[english].replace(/\{(\w+)\}/g, (_, name) => values[name])
}

// An element; texts are set as text, never as HTML.
export function make(tag, given = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else made.setAttribute(name, value === true ? "" : value)
  }
  made.append(...children.filter((child) => child !== null && child !== undefined))
  return made
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`

// A bar per class or modality, the largest in colour.
export function bars(probabilities) {
  const best = Math.max(...Object.values(probabilities))
  const list = make("dl", { class: "bars" })
  for (const [name, share] of Object.entries(probabilities)) {
    const kind = share === best ? "best" : ""
    const filled = make("span")
    filled.style.width = percent(share).replace(" ", "")
    list.append(
      make("dt", {}, make("bdi", { class: kind }, name)),
      make("dd", {}, make("div", { class: `track ${kind}`, "aria-hidden": "true" }, filled), make("span", { class: `number ${kind}` }, percent(share))),
    )
  }
  return list
}

// The JSON of an answer. An error is thrown as what the page shows: a sentence in its language, and the server's line.
export async function ask(path, options = {}) {
  let answer
  try {
    answer = await fetch(path, options)
  } catch (error) {
    if (error.name === "AbortError") throw error
    throw Object.assign(new Error(say("The server cannot be reached. Is msa serve still running?")), { detail: "" })
  }
  if (answer.status === 401) location.reload()
  const body = await answer.json()
  if (answer.ok) return body
  const sentences = {
    413: "This is too large.",
    415: "This is not an image that can be read.",
    422: "The post cannot be predicted.",
    503: "The server is busy. Try again in a moment.",
  }
  throw Object.assign(new Error(say(sentences[answer.status] ?? "Something is wrong with the request.")), { detail: body.error })
}

export function errorBox(error) {
  return make("p", { class: "error", role: "alert" }, error.message, error.detail ? make("span", { class: "soft", lang: "en" }, make("bdi", {}, error.detail)) : null)
}

function part(title, text, ...children) {
  return make("div", { class: "part" }, make("h2", {}, say(title)), make("p", { class: "soft" }, say(text)), ...children)
}

function opinions(found) {
  const each = found.map(({ modality, label, probabilities }) =>
    make("div", {}, make("h3", {}, make("span", {}, say(modality === "image" ? "The image alone" : "The text alone")), make("bdi", {}, label)), bars(probabilities)),
  )
  return part("Each modality alone", "What the same heads predict when they are shown one modality.", make("div", { class: "opinions" }, ...each))
}

function attention(found, picture) {
  const read = found.images.length + found.texts.length
  const text = read ? "Where the heads looked: brighter patches and stronger words had more weight. Weights are no proof of a cause." : "How much each modality counted in the decision. Weights are no proof of a cause."
  return part(read ? "Attention" : "Weights of the modalities", text, ...attentionParts(found, picture))
}

function nearest(found) {
  const cards = found.map((post) => make("li", {}, postCard(post, () => openPost(post.row), `${say("similarity")} ${post.similarity.toFixed(2)}`)))
  return make("div", { class: "card" }, make("h2", {}, say("Nearest training posts")), make("p", { class: "soft" }, say("By cosine similarity of the cached features.")), make("ul", { class: "posts near", id: "nearest" }, ...cards))
}

const result = document.getElementById("result")
const more = document.getElementById("more")
const hint = result.firstElementChild
let latest = 0 // of several requests, the last one's answer is shown

// Ask for an explanation and show it; `picture` is the address of the post's picture, if any; `post` one of the data set.
export async function explain(path, options, picture, post = null) {
  const number = ++latest
  result.setAttribute("aria-busy", "true")
  result.classList.add("working")
  if (result.contains(hint)) hint.lastElementChild.textContent = say("Working…")
  try {
    const found = await ask(path, options)
    if (number === latest) show(found, picture, post)
  } catch (error) {
    if (number === latest) {
      result.replaceChildren(errorBox(error))
      more.replaceChildren()
    }
  } finally {
    if (number === latest) {
      result.classList.remove("working")
      result.removeAttribute("aria-busy")
    }
  }
}

function show(found, picture, post) {
  const kind = found.calibrated ? "calibrated probability" : "probability, not calibrated"
  const notes = (found.unused ?? []).map((name) => make("p", { class: "note" }, `${say(name)}: ${say("not used, as the run does not read it")}`))
  if (found.held_out) notes.push(make("p", { class: "note" }, say("A post of the data set, predicted by the heads that never saw it.")))
  if (found.trained) notes.push(make("p", { class: "note" }, say("The run's heads were trained on this post: the prediction says nothing about new posts.")))
  result.replaceChildren(
    ...(post ? [given(post)] : []),
    make("h2", { class: "soft" }, say("Prediction")),
    make("p", { class: "verdict", id: "verdict" }, make("bdi", {}, found.label)),
    bars(found.probabilities),
    make("p", { class: "soft" }, say(kind)),
    ...notes,
    ...(found.opinions.length ? [opinions(found.opinions)] : []),
    ...(found.attention ? [attention(found.attention, picture)] : []),
  )
  more.replaceChildren(...(found.nearest.length ? [nearest(found.nearest)] : []))
}

function startForm() {
  const form = document.getElementById("post")
  const [file, text, preview, drop, remove] = ["image", "text", "preview", "drop", "remove"].map((id) => document.getElementById(id))
  let picture = null // the address of the chosen file

  function choose() {
    if (picture) URL.revokeObjectURL(picture)
    const [chosen] = file.files
    picture = chosen ? URL.createObjectURL(chosen) : null
    preview.hidden = remove.hidden = !chosen
    drop.classList.toggle("filled", Boolean(chosen))
    preview.alt = chosen ? chosen.name : ""
    if (chosen) preview.src = picture
    else preview.removeAttribute("src")
  }
  if (file) {
    file.addEventListener("change", choose)
    remove.addEventListener("click", () => { file.value = ""; choose(); file.focus() })
    for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over") })
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"))
    drop.addEventListener("drop", (event) => {
      event.preventDefault()
      if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; choose() }
    })
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const body = new FormData()
    if (file?.files[0]) body.append("image", file.files[0])
    if (text?.value.trim()) body.append("text", text.value)
    explain("/explain", { method: "POST", body }, picture)
  })
  document.getElementById("clear").addEventListener("click", () => {
    form.reset()
    if (file) choose()
    latest++
    hint.lastElementChild.textContent = hint.dataset.text
    result.classList.remove("working")
    result.replaceChildren(hint)
    more.replaceChildren()
  })
  hint.dataset.text = hint.lastElementChild.textContent
}

// Which view is shown is in the address, so that the browser's buttons work.
export function showView(name) {
  for (const link of document.querySelectorAll("[data-view]")) {
    const shown = link.dataset.view === name
    document.getElementById(`view-${link.dataset.view}`).hidden = !shown
    if (shown) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
  for (const link of document.querySelectorAll(".language a")) link.hash = name
}

addEventListener("hashchange", () => showView(location.hash === "#posts" ? "posts" : "try"))
startForm()
if (config.posts) startPosts()
showView(location.hash === "#posts" ? "posts" : "try")
