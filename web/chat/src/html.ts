import DOMPurify from "dompurify";

// What a message may be made of. The server cleans messages too; the page does not rely on it.
const TAGS = [
  "a", "abbr", "b", "bdi", "bdo", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del", "dfn", "div", "dl", "dt",
  "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "msft-mention", "ol", "p",
  "pre", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th",
  "thead", "time", "tr", "tt", "u", "ul", "var", "wbr",
];
const ATTRIBUTES = ["href", "src", "alt", "title", "dir", "lang", "colspan", "rowspan", "start"];

const LINKS = new Set(["http:", "https:", "mailto:"]);

// fragmentOf returns the harmless part of a message's HTML. Nothing in it runs, has a style or an id of its own, and nothing is
// loaded: an image becomes a button, made by `image`, that a person may press. It is null for images where those are off.
export function fragmentOf(html: string, image: ((address: URL, alt: string) => HTMLElement) | null): DocumentFragment {
  // The parser of an inert document already tells the browser about <base>, which the page's policy would report. No form of
  // the element is wanted, so it never reaches the parser.
  const fragment = DOMPurify.sanitize(html.replace(/<(\/?)base\b/gi, "<$1x-base"), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    const address = parse(link.getAttribute("href"));
    if (!address || !LINKS.has(address.protocol)) {
      link.removeAttribute("href");
      continue;
    }
    link.href = address.href;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const img of fragment.querySelectorAll("img")) {
    const address = parse(img.getAttribute("src"));
    const alt = img.getAttribute("alt") ?? "";
    if (image && address?.protocol === "https:") img.replaceWith(image(address, alt));
    else img.replaceWith(alt);
  }
  return fragment;
}

function parse(address: string | null): URL | null {
  try {
    return address === null ? null : new URL(address, location.href);
  } catch {
    return null;
  }
}

// plainOf returns the text of an HTML message, for copying, quoting and the list of threads.
export function plainOf(html: string): string {
  const fragment = fragmentOf(html, null);
  for (const br of fragment.querySelectorAll("br")) br.replaceWith("\n");
  for (const block of fragment.querySelectorAll("p, div, li, tr, blockquote, h1, h2, h3, h4, h5, h6, pre")) block.append("\n");
  return (fragment.textContent ?? "").replace(/\n{2,}/g, "\n").trim();
}
