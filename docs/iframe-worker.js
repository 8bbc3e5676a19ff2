/* Search of a site that is opened from the disk, where browsers run no workers: the worker's script runs in a hidden
   frame instead. The theme looks for the name `IFrameWorker`. */
class IFrameWorker extends EventTarget {
  constructor(url) {
    super()
    this.frame = document.body.appendChild(document.createElement("iframe"))
    this.frame.hidden = true
    const inside = this.frame.contentWindow
    inside.document.write("<!doctype html><body></body>")
    inside.document.close()
    inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
    this.loaded = new Promise((resolve, reject) => {
      const script = inside.document.createElement("script")
      script.src = new URL(url, location.href).href
      script.onload = resolve
      script.onerror = reject
      inside.document.body.appendChild(script)
    })
  }

  postMessage(data) {
    this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
  }

  terminate() {
    this.frame.remove()
  }
}

window.IFrameWorker = IFrameWorker
if (location.protocol === "file:") {
  window.Worker = IFrameWorker
}
