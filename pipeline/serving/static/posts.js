// The view of the data set's posts: filters, pages, one post in a dialog.
import { ask, bars, errorBox, explain, make, say, showView } from "./page.js"

// The label, and whether the prediction is that; a label is isolated, as it may be written from right to left.
function chips(post) {
  const outcome = {
    null: "no prediction",
    true: "✓ as predicted",
    false: "✗ predicted {label}",
  }[post.right]
  const kind = { null: "", true: " right", false: " wrong" }[post.right]
  return make(
    "span",
    { class: "chips" },
    make("span", { class: "chip", title: say("label") }, post.label === null ? say("no label") : make("bdi", {}, post.label)),
    make("span", { class: `chip${kind}`, title: say("predicted") }, say(outcome, { label: `\u2068${post.predicted}\u2069` })),
  )
}

function thumbnail(post) {
  const frame = make("span", { class: "thumb" })
  if (!post.image) frame.append(say("no picture"))
  else {
    const failed = () => frame.replaceChildren(say("picture cannot be read"))
    frame.append(make("img", { src: `/posts/${post.row}/image`, alt: "", loading: "lazy", onerror: failed }))
  }
  return frame
}

// A post as a card that opens it; `extra` is one more line.
export function postCard(post, open, extra = "") {
  const text = make("span", { class: "excerpt", dir: "auto" }, post.text ?? say("no text"))
  return make("button", { type: "button", class: "post", onclick: open }, thumbnail(post), make("span", { class: "body" }, text, extra ? make("span", { class: "soft" }, extra) : null, chips(post)))
}

// The post of the data set that is explained.
export function given(post) {
  const text = make("span", { class: "excerpt", dir: "auto" }, post.text ?? say("no text"))
  return make("div", { class: "given" }, thumbnail(post), make("div", {}, make("h3", {}, make("bdi", {}, post.id)), text, chips(post)))
}

const detail = document.getElementById("detail")

export async function openPost(row) {
  let post
  try {
    post = await ask(`/posts/${row}`)
  } catch (error) {
    post = { error }
  }
  const close = make("button", { type: "button", onclick: () => detail.close() }, say("Close"))
  const title = make("h2", { id: "detail-title" }, post.error ? say("Details") : make("bdi", {}, post.id))
  const head = make("div", { class: "detail-head" }, title, close)
  if (post.error) detail.replaceChildren(head, errorBox(post.error))
  else {
    const failed = (event) => event.target.replaceWith(make("p", { class: "note" }, say("picture cannot be read")))
    const picture = post.image ? make("img", { class: "picture", src: `/posts/${row}/image?large=true`, alt: "", onerror: failed }) : null
    const again = () => {
      detail.close()
      location.hash = "#try"
      showView("try")
      scrollTo(0, 0)
      explain(`/posts/${row}/explanation`, {}, post.image ? `/posts/${row}/image?large=true` : null, post)
    }
    detail.replaceChildren(
      head,
      ...[picture].filter(Boolean),
      make("p", { class: "full", dir: "auto", tabindex: "0" }, post.text ?? say("no text")),
      chips(post),
      ...(post.probabilities ? [bars(post.probabilities)] : []),
      make("div", { class: "actions" }, make("button", { type: "button", class: "primary", onclick: again }, say("Explain this post"))),
    )
  }
  detail.showModal()
}

export function startPosts() {
  const form = document.getElementById("filters")
  const [list, total, pages, place, previous, next] = ["posts", "total", "pages", "place", "previous", "next"].map((id) => document.getElementById(id))
  let page = 1
  let asking = new AbortController()

  async function find() {
    asking.abort()
    asking = new AbortController()
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value))
    query.set("page", page)
    try {
      const found = await ask(`/posts?${query}`, { signal: asking.signal })
      page = found.page
      total.textContent = say("{total} posts", { total: found.total })
      place.textContent = say("page {page} of {pages}", found)
      pages.hidden = found.pages < 2
      previous.disabled = page <= 1
      next.disabled = page >= found.pages
      const cards = found.posts.map((post) => make("li", {}, postCard(post, () => openPost(post.row))))
      list.replaceChildren(...(cards.length ? cards : [make("li", { class: "note" }, say("No post fits. Choose fewer conditions."))]))
    } catch (error) {
      if (error.name !== "AbortError") list.replaceChildren(make("li", {}, errorBox(error)))
    }
  }

  function turn(by) {
    page += by
    find().then(() => form.scrollIntoView({ block: "start" }))
  }
  let pause
  form.addEventListener("input", () => {
    page = 1
    clearTimeout(pause)
    pause = setTimeout(find, 200)
  })
  form.addEventListener("submit", (event) => { event.preventDefault(); find() })
  previous.addEventListener("click", () => turn(-1))
  next.addEventListener("click", () => turn(1))
  find()
}
