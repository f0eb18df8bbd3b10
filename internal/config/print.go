package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redacted writes the configuration as the documented YAML file, every setting with its meaning and its value, secrets
// masked.
func (c Config) Redacted() string {
	root := &yaml.Node{Kind: yaml.MappingNode}
	groups := map[string]*yaml.Node{}
	for _, s := range settings() {
		parent, key := root, s.Path
		if group, name, nested := strings.Cut(s.Path, "."); nested {
			if groups[group] == nil {
				groups[group] = &yaml.Node{Kind: yaml.MappingNode}
				root.Content = append(root.Content, scalar(group), groups[group])
			}
			parent, key = groups[group], name
		}
		name, value := scalar(key), scalar(s.show(&c))
		name.HeadComment = wrap(s.Help, 100)
		if s.Type != reflect.TypeFor[int]() {
			value.Tag = "!!str"
		}
		parent.Content = append(parent.Content, name, value)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		panic(fmt.Sprintf("encode a tree of scalars: %v", err))
	}
	return out.String()
}

func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// wrap breaks text into lines of at most width characters.
func wrap(text string, width int) string {
	var out strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			out.WriteByte('\n')
			column = 0
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}
