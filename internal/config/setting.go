package config

import (
	_ "embed"
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// EnvPrefix begins the name of every environment variable of a setting.
const EnvPrefix = "PERSISTD_"

// Setting is one field of Config, under all its names.
type Setting struct {
	Path    string       // in the file and in errors: nats.tls_ca
	Flag    string       // on the command line: nats-tls-ca
	Env     string       // in the environment: PERSISTD_NATS_TLS_CA
	Group   string       // heading in the help
	Default string       // as one would write it
	Help    string       // the field's comment
	Type    reflect.Type // string, Secret, int, Bytes or time.Duration
	Secret  string       // for a file that holds a secret: the path of the setting it stands for

	index []int // of the field, for reflect.Value.FieldByIndex
}

// Settings lists every setting in the order of the struct.
func Settings() []Setting { return settings() }

var settings = sync.OnceValue(func() []Setting {
	return collect(reflect.TypeFor[Config](), comments(), "", "", nil)
})

func collect(t reflect.Type, docs map[string]string, prefix, group string, index []int) []Setting {
	var all []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		if p, nested := f.Tag.Lookup("prefix"); nested {
			all = append(all, collect(f.Type, docs, prefix+p, f.Tag.Get("group"), at)...)
			continue
		}
		name := f.Tag.Get("name")
		key := strings.ReplaceAll(name, "-", "_")
		if prefix != "" {
			key = strings.TrimSuffix(prefix, "-") + "." + key
		}
		flag := prefix + name
		all = append(all, Setting{
			Path: key, Flag: flag, Env: EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")), Group: group,
			Default: f.Tag.Get("default"), Help: docs[t.Name()+"."+f.Name], Type: f.Type, Secret: f.Tag.Get("secret"), index: at,
		})
	}
	return all
}

//go:generate go test . -run TestTheDocumentedTable -update

//go:embed config.go
var source string

// comments reads the fields' comments out of the source of this package, so that what a developer reads above a field and
// what an operator reads in --help cannot drift apart.
func comments() map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		panic(fmt.Sprintf("parse the embedded config.go, which has been compiled: %v", err))
	}
	docs := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return false
	})
	return docs
}

// value returns the setting's field of c.
func (s Setting) value(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

// check tells whether text can be read as the setting's type. It never repeats a secret: those take any text.
func (s Setting) check(text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(s.Type)); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch s.Type {
	case reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(text); err != nil {
			return fmt.Errorf("parse duration %q: want a number and a unit, like 50ms, 30s or 24h", text)
		}
	case reflect.TypeFor[int]():
		if _, err := strconv.Atoi(text); err != nil {
			return fmt.Errorf("parse number %q: want digits only", text)
		}
	}
	return nil
}

// show writes the setting's value in c the way it can be read back, with secrets masked.
func (s Setting) show(c *Config) string {
	switch v := s.value(c).Interface().(type) {
	case Secret:
		if s.Path == "mysql.dsn" {
			return maskDSN(v)
		}
		return v.String()
	case time.Duration:
		return ShowDuration(v)
	default:
		text := fmt.Sprint(v)
		if s.Path == "nats.url" {
			return maskURLs(text)
		}
		return text
	}
}

// ShowDuration is Duration.String without the zero units at its end: 24h, not 24h0m0s.
func ShowDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
