// The text of a mail with bold, lists, links and pictures. What it takes in of a page is named here, node
// by node; nothing has a style, for the policy of these pages allows none.

const ALLOWED = new Set(["B", "STRONG", "I", "EM", "U", "S", "A", "UL", "OL", "LI", "BLOCKQUOTE", "P", "DIV", "BR", "IMG", "PRE", "CODE", "H1", "H2", "H3", "H4"]);
const UNSEEN = new Set(["SCRIPT", "STYLE", "HEAD", "TITLE", "TEMPLATE", "NOSCRIPT", "SVG", "MATH", "IFRAME", "OBJECT"]);
const LEADS = /^(https?|mailto):/i;
const OWN_PICTURE = /^\/write\/\d+\/files\/\d+$/;

function copied(from, into) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) into.append(node.data);
    else if (node.nodeType === Node.ELEMENT_NODE && !UNSEEN.has(node.tagName.toUpperCase())) {
      if (!ALLOWED.has(node.tagName)) { copied(node, into); continue; }
      const made = document.createElement(node.tagName), href = node.getAttribute("href") || "";
      if (node.tagName === "A" && LEADS.test(href)) made.setAttribute("href", href);
      if (node.tagName === "IMG") {
        if (!OWN_PICTURE.test(node.getAttribute("src") || "")) continue;
        made.setAttribute("src", node.getAttribute("src"));
        made.setAttribute("alt", node.getAttribute("alt") || "");
      }
      copied(node, made);
      into.append(made);
    }
  }
}

export class Editor {
  // form: has the fields format, text and html. touched(): something was changed. attach(files): pictures come.
  constructor(form, touched, attach) {
    this.format = form.elements.namedItem("format");
    this.text = form.elements.namedItem("text");
    this.html = form.elements.namedItem("html");
    this.area = document.getElementById("editor");
    this.tools = document.getElementById("tools");
    this.touched = touched;
    this.attach = attach;
    const looks = this.looks = document.getElementById("looks");
    looks.closest("label").hidden = false;
    looks.addEventListener("change", () => { this.turn(looks.checked); touched(); });
    this.tools.addEventListener("click", (event) => {
      const button = event.target.closest("[data-command]");
      if (button) this.command(button.dataset.command);
    });
    this.area.addEventListener("paste", (event) => {
      event.preventDefault();  // what others made look so would come with its styles
      document.execCommand("insertText", false, event.clipboardData.getData("text/plain"));
    });
    this.area.addEventListener("drop", (event) => event.preventDefault());
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.command("link");
    });
    document.execCommand("styleWithCSS", false, false);
    document.execCommand("defaultParagraphSeparator", false, "p");
    if (form.dataset.format === "html") this.turn(true, true);
  }

  get isPage() { return this.format.value === "html"; }

  // The field has what stands in the editor.
  settle() { if (this.isPage) this.html.value = this.area.innerHTML; }

  turn(page, keepsHtml = false) {
    if (page) {
      this.area.replaceChildren();
      if (keepsHtml) copied(new DOMParser().parseFromString(this.html.value, "text/html").body, this.area);
      else for (const line of this.text.value.split("\n")) {
        const made = document.createElement("p");
        made.append(line || document.createElement("br"));
        this.area.append(made);
      }
      this.area.contentEditable = "true";
      this.area.setAttribute("role", "textbox");
      this.area.setAttribute("aria-multiline", "true");
      this.area.setAttribute("aria-label", "Text");
    } else if (this.isPage) {
      this.text.value = this.area.innerText.replace(/\n{3,}/g, "\n\n");
    }
    this.format.value = page ? "html" : "text";
    this.text.hidden = page;
    this.area.hidden = this.tools.hidden = !page;
    this.html.disabled = !page;
    this.looks.checked = page;
  }

  command(name) {
    this.area.focus();
    if (name === "quote") document.execCommand("formatBlock", false, "blockquote");
    else if (name === "link") {
      const place = window.prompt("Where the link leads", "https://");
      if (place && LEADS.test(place)) document.execCommand("createLink", false, place);
    } else if (name === "picture") {
      const chosen = document.createElement("input");
      chosen.type = "file";
      chosen.accept = "image/png,image/jpeg,image/gif,image/webp";
      chosen.addEventListener("change", () => this.attach(chosen.files));
      chosen.click();
      return;
    } else document.execCommand(name, false);
    this.touched();
  }

  insertPicture(address, name) {
    const picture = document.createElement("img"), choice = window.getSelection();
    picture.src = address;
    picture.alt = name;
    if (choice.rangeCount && this.area.contains(choice.anchorNode)) {
      const range = choice.getRangeAt(0);
      range.deleteContents();
      range.insertNode(picture);
      range.collapse(false);
    } else this.area.append(picture);
    this.touched();
  }
}
