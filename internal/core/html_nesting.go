package core

import (
	"slices"
	"strings"
)

// Limits on the elements that may be open at once in an HTML message. They exist because a browser
// repeats an open formatting element in every paragraph until the element ends, and because a
// browser may not read elements that are nested too deep.
const (
	maxHTMLDepth      = 100
	maxHTMLFormatting = 16
)

// htmlElement is an element that a message may have. The fields after number describe the rules
// of the HTML standard for its tags.
type htmlElement struct {
	name       string // in lower case
	endTag     string // the text that cleaning writes for a missing end tag
	attributes []htmlAttribute
	lengths    uint32 // bit n is 1 if one of the element's attributes has a name of n bytes
	number     int    // its index in nesting.last

	void       bool           // it has no end tag
	formatting bool           // a browser repeats the element in each paragraph while the element is open
	isBlock    bool           // the element's end tag also ends open elements inside it whose end tags are optional
	optional   bool           // its end tag is optional
	endsP      bool           // its start tag ends a p
	heading    bool           // h1 to h6
	isBoundary bool           // tags inside the element do not end elements around it
	holdsCells bool           // only parts of a table may be directly inside the element
	ofTable    bool           // the element is a part of a table
	parents    []*htmlElement // the elements that may contain this one directly; nil: any element may
}

// maxHTMLElements is the greatest number of elements in htmlElements.
const maxHTMLElements = 100

// nestHTML sets the fields of elements that concern nesting.
func nestHTML(elements map[string]*htmlElement) {
	each := func(names string, set func(e *htmlElement)) {
		for _, name := range strings.Fields(names) {
			set(elements[name])
		}
	}
	each("br col hr img wbr", func(e *htmlElement) { e.void = true })
	each("a b code em i s small strike strong tt u", func(e *htmlElement) { e.formatting = true })
	each(`article aside blockquote details div dl figcaption figure footer h1 h2 h3 h4 h5 h6 header hgroup hr ol p pre section
		summary table ul li dd dt`, func(e *htmlElement) { e.isBlock, e.endsP = true, true })
	each("caption colgroup tbody td tfoot th thead tr", func(e *htmlElement) { e.isBlock = true })
	each("p li dd dt colgroup tbody td tfoot th thead tr", func(e *htmlElement) { e.optional = true })
	each("h1 h2 h3 h4 h5 h6", func(e *htmlElement) { e.heading = true })
	each("table caption td th", func(e *htmlElement) { e.isBoundary = true })
	each("table colgroup tbody tfoot thead tr", func(e *htmlElement) { e.holdsCells = true })
	parents := func(names, of string) {
		each(names, func(e *htmlElement) {
			each(of, func(parent *htmlElement) { e.parents = append(e.parents, parent) })
		})
	}
	parents("li", "ul ol")
	parents("dd dt", "dl")
	parents("caption colgroup tbody tfoot thead", "table")
	each("caption col colgroup tbody td tfoot th thead tr", func(e *htmlElement) { e.ofTable = true })
	parents("col", "colgroup table")
	parents("tr", "tbody tfoot thead table")
	parents("td th", "tr tbody tfoot thead table")
	number := 0
	for _, e := range elements {
		e.number = number
		number++
	}
	if number > maxHTMLElements {
		panic("core: there are more elements than maxHTMLElements")
	}
}

// The elements for which the code below has special cases.
var (
	htmlA, htmlDiv, htmlP, htmlTable = htmlElements["a"], htmlElements["div"], htmlElements["p"], htmlElements["table"]
	htmlRP, htmlRT, htmlImg          = htmlElements["rp"], htmlElements["rt"], htmlElements["img"]
)

// nesting is the stack of elements that are open in a message. It has the elements that a browser
// would have open at the same place, so that no tag of the message can end an element of the page
// around the message. A depth is a number of open elements. The depth of an open element counts the
// element itself, so 0 means no element.
type nesting struct {
	open       []openHTML
	last       [maxHTMLElements]uint8 // the depth of the innermost open element of each kind, by the kind's number
	formatting int                    // open elements that format text
}

// openHTML is an open element of a message.
type openHTML struct {
	*htmlElement
	before   uint8 // the depth of the next open element of the same kind around this one; 0: none
	boundary uint8 // the depth of the innermost open boundary, which may be the element itself
	block    uint8 // the depth of the innermost open block other than div and p; may be the element itself
}

// top returns the innermost open element. The result's htmlElement is nil if no element is open.
func (n *nesting) top() (top openHTML) {
	if len(n.open) > 0 {
		top = n.open[len(n.open)-1]
	}
	return top
}

func (n *nesting) push(e *htmlElement) {
	top, depth := n.top(), uint8(len(n.open)+1)
	o := openHTML{htmlElement: e, before: n.last[e.number], boundary: top.boundary, block: top.block}
	if e.isBoundary {
		o.boundary = depth
	}
	if e.isBlock && e != htmlDiv && e != htmlP {
		o.block = depth
	}
	if e.formatting {
		n.formatting++
	}
	n.open, n.last[e.number] = append(n.open, o), depth
}

func (n *nesting) pop() *htmlElement {
	o := n.top()
	if o.formatting {
		n.formatting--
	}
	n.open, n.last[o.number] = n.open[:len(n.open)-1], o.before
	return o.htmlElement
}

// startTag reports whether a start tag of e stays in the message. If so, startTag first writes the
// end tags of the open elements that the start tag ends.
//
// A start tag ends the same elements as in a browser: a block ends a p, an item of a list or part
// of a table ends the one before, an a ends an a, and so on, together with all elements that are
// open within them. The start tag is removed in three cases: if e is a part of a list or table but
// not inside of one, if it is directly in a table and e is not a part of a table, or if too many
// elements are open.
func (c *cleaner) startTag(e *htmlElement) bool {
	top := c.top()
	keep, ok := c.place(e)
	if !ok {
		return false
	}
	implied := true // the start tag of e ends an open p or list item, so these need no end tag
	if p := int(c.last[htmlP.number]); e.endsP && p > int(top.boundary) {
		keep = min(keep, p-1)
		implied = e != htmlTable // a table does not end a p in a page without a doctype, so the p needs an end tag
	}
	switch {
	case e.heading && keep > 0 && c.open[keep-1].heading:
		keep--
	case e == htmlA && c.last[htmlA.number] > top.boundary:
		keep = int(c.last[htmlA.number]) - 1
	case e == htmlRT || e == htmlRP:
		for keep > 0 && slices.Contains([]*htmlElement{htmlP, htmlRT, htmlRP}, c.open[keep-1].htmlElement) {
			keep--
		}
		implied = false
	}
	if !e.void && (keep >= maxHTMLDepth || e.formatting && c.formatting >= maxHTMLFormatting) {
		return false
	}
	c.end(keep, implied)
	if !e.void {
		c.push(e)
	}
	return true
}

// place returns how many of the open elements stay open when e begins, considering only the rules
// for lists and tables. ok is false if these rules do not allow e at this point.
func (c *cleaner) place(e *htmlElement) (keep int, ok bool) {
	top := c.top()
	switch {
	case e.ofTable:
		for _, parent := range e.parents {
			keep = max(keep, int(c.last[parent.number]))
		}
		return keep, keep > 0
	case e.parents != nil: // of a list
		if top.block == 0 {
			return 0, false
		}
		around := c.open[top.block-1].htmlElement
		if around.parents != nil && around.parents[0] == e.parents[0] {
			return int(top.block) - 1, true // e ends the list item before it, or another item of the same kind of list
		}
		return len(c.open), slices.Contains(e.parents, around)
	case top.htmlElement != nil && top.holdsCells:
		return int(c.last[htmlTable.number]) - 1, e == htmlTable
	}
	return len(c.open), true
}

// endTag reports whether an end tag of e stays in the message. It stays if e is open, unless a
// table or cell inside e is still open. If the tag stays, endTag first writes the end tags of the
// elements that are open within e.
func (c *cleaner) endTag(e *htmlElement) bool {
	depth, boundary := c.last[e.number], c.top().boundary
	if e == htmlTable || e.ofTable {
		boundary = c.last[htmlTable.number]
	}
	if depth == 0 || depth < boundary || depth == boundary && !e.isBoundary {
		return false
	}
	c.end(int(depth), e.isBlock)
	c.pop()
	return true
}

// end ends all open elements except the outermost ones, up to depth, and writes their end tags. It
// leaves out an optional end tag of an element that ends together with the block around it. If
// implied is true, it also leaves out the optional end tag of an element that the next start tag
// ends.
func (c *cleaner) end(depth int, implied bool) {
	for len(c.open) > depth {
		e := c.pop()
		if e.optional && (len(c.open) == depth && implied || len(c.open) > depth && c.top().isBlock) {
			continue
		}
		c.tags++
		c.replace(c.at, e.endTag)
	}
}
