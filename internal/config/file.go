package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseFile reads the YAML text into setting path → text, and reports everything that is wrong with it, each with its line.
func parseFile(path string, text []byte) (map[string]string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	f := &fileReader{path: path, known: map[string]Setting{}, groups: map[string]bool{}, values: map[string]string{}}
	for _, s := range settings() {
		f.known[s.Path] = s
		if group, _, nested := strings.Cut(s.Path, "."); nested {
			f.groups[group] = true
		}
	}
	if len(doc.Content) > 0 {
		f.mapping("", doc.Content[0])
	}
	return f.values, errors.Join(f.errs...)
}

type fileReader struct {
	path   string
	known  map[string]Setting
	groups map[string]bool
	values map[string]string
	errs   []error
}

func (f *fileReader) fail(n *yaml.Node, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s:%d: %w", f.path, n.Line, fmt.Errorf(format, args...)))
}

func (f *fileReader) mapping(group string, n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		if group == "" {
			f.fail(n, "want settings as key: value")
		} else {
			f.fail(n, "%s: want settings under it as key: value", group)
		}
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := key.Value
		if group != "" {
			path = group + "." + key.Value
		}
		setting, known := f.known[path]
		switch {
		case seen[path]:
			f.fail(key, "%s: set twice", path)
		case group == "" && f.groups[path]:
			f.mapping(path, value)
		case known:
			f.scalar(setting, value)
		default:
			f.fail(key, "unknown setting %s%s", path, suggest(path, f.names()))
		}
		seen[path] = true
	}
}

func (f *fileReader) scalar(s Setting, n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		f.fail(n, "%s: want one value", s.Path)
	case n.Tag == "!!null":
	default:
		if err := s.check(n.Value); err != nil {
			f.fail(n, "%s: %w", s.Path, err)
			return
		}
		f.values[s.Path] = n.Value
	}
}

func (f *fileReader) names() []string {
	names := make([]string, 0, len(f.known)+len(f.groups))
	for name := range f.known {
		names = append(names, name)
	}
	for name := range f.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// suggest names the known word nearest to the given one, when it is near enough to be what was meant: a letter in three
// differs, or only the way the words are joined does.
func suggest(word string, known []string) string {
	best, least := "", len(word)/3+1
	plain := strings.NewReplacer("-", "", "_", "", ".", "")
	for _, k := range known {
		d := distance(word, k)
		if strings.EqualFold(plain.Replace(word), plain.Replace(k)) {
			d = 0
		}
		if d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is Levenshtein's: the fewest insertions, deletions and replacements that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
