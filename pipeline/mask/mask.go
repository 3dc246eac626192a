// Package mask replaces secret values in a stream of text. It is pure: no
// clock, no files, no goroutines.
//
// A Set has the values and the forms in which they are likely to appear:
// unchanged, line by line, base64, URL and JSON escapes, hexadecimal. Text that
// matches any of them becomes Mark; matches that overlap or touch become one
// Mark. The work is linear in the text, regardless of the values.
//
// This keeps honest programs from showing secrets by accident. A malicious
// module can always write its secret in another form.
package mask

// Mark replaces a value.
const Mark = "***"

// MinLength is the length in bytes from which on values, and lines of values
// with several, are masked: anything shorter would be found everywhere.
const MinLength = 6

// Set is what to mask. It is immutable, and safe for concurrent use. A nil Set
// masks nothing.
type Set struct {
	// nodes are a trie of all patterns with the failure links of Aho and
	// Corasick; 0 is the root.
	nodes []node
	root  [256]int32
}

// node is a prefix of patterns. Children are a list, since nearly all nodes have
// one.
type node struct {
	child, next int32
	// fail is the longest proper suffix that is a prefix of a pattern too.
	fail int32
	// depth is the length of the prefix, out that of the longest pattern that
	// ends here; 0 if none does.
	depth, out int32
	label      byte
}

// New makes a set of values. It is nil if none of them can be masked: see
// TooShort.
func New(values []string) *Set {
	patterns := make(map[string]struct{})
	for _, v := range values {
		addForms(patterns, v)
	}
	return build(patterns)
}

func build(patterns map[string]struct{}) *Set {
	if len(patterns) == 0 {
		return nil
	}
	s := &Set{nodes: make([]node, 1)}
	for p := range patterns {
		s.insert(p)
	}
	s.link()
	return s
}

func (s *Set) insert(pattern string) {
	at := int32(0)
	for i := range len(pattern) {
		next := s.childOf(at, pattern[i])
		if next == 0 {
			next = int32(len(s.nodes))
			s.nodes = append(s.nodes, node{label: pattern[i], depth: int32(i + 1), next: s.nodes[at].child})
			s.nodes[at].child = next
			if at == 0 {
				s.root[pattern[i]] = next
			}
		}

		at = next
	}

	s.nodes[at].out = int32(len(pattern))
}

// childOf returns the child of a node by its label; 0 if there is none.
func (s *Set) childOf(at int32, label byte) int32 {
	if at == 0 {
		return s.root[label]
	}
	c := s.nodes[at].child
	for c != 0 && s.nodes[c].label != label {
		c = s.nodes[c].next
	}
	return c
}

// link sets the failure links, shorter prefixes first.
func (s *Set) link() {
	queue := make([]int32, 0, len(s.nodes))
	queue = append(queue, 0)
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		for c := s.nodes[at].child; c != 0; c = s.nodes[c].next {
			n := &s.nodes[c]
			if at != 0 {
				n.fail = s.step(s.nodes[at].fail, n.label)
			}
			if n.out == 0 {
				n.out = s.nodes[n.fail].out
			}
			queue = append(queue, c)
		}
	}
}

// step is the node after one more byte.
func (s *Set) step(at int32, c byte) int32 {
	for {
		if next := s.childOf(at, c); next != 0 || at == 0 {
			return next
		}
		at = s.nodes[at].fail
	}
}

// Bytes masks a text as a whole. It gives text itself if nothing is in it.
func (s *Set) Bytes(text []byte) []byte {
	if s == nil || len(text) < MinLength {
		return text
	}
	st := Stream{set: s}
	return st.Close(st.Append(make([]byte, 0, len(text)), text))
}

// String masks a text as a whole.
func (s *Set) String(text string) string {
	if s == nil || len(text) < MinLength {
		return text
	}
	return string(s.Bytes([]byte(text)))
}
