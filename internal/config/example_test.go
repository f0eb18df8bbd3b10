package config_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/persistd/persistd/internal/config"
)

// How cmd/persistd declares its commands. A command that takes every setting embeds Flags; one that needs a part of them
// embeds that part, and FileFlag if it reads the file.
type cli struct {
	Serve  serveCmd  `cmd:"" default:"withargs" help:"Apply the log to MySQL and answer reads."`
	Dev    devCmd    `cmd:"" help:"Run everything in one process, with data under ./.persistd."`
	Demo   demoCmd   `cmd:"" help:"Kill what can be killed and show that nothing is lost."`
	Status statusCmd `cmd:"" help:"Show the log, the partitions and their positions."`
	Config configCmd `cmd:"" help:"Print or check the configuration."`
}

type serveCmd struct {
	config.Flags `embed:""`
}

func (cmd *serveCmd) Run(env config.LookupEnv) error {
	cfg, err := cmd.Complete(env)
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	fmt.Println("serve", cfg.NATS.URL, cfg.Stream.Partitions, cfg.MySQL.DSN)
	return nil
}

// devCmd fills in what it starts itself before it validates.
type devCmd struct {
	config.Flags `embed:""`
	Dir          string `help:"Where the data is kept." default:".persistd"`
}

func (cmd *devCmd) Run(env config.LookupEnv) error {
	cfg, err := cmd.Complete(env)
	if err != nil {
		return err
	}
	if cfg.MySQL.DSN == "" {
		cfg.MySQL.DSN = "root@unix(mysql.sock)/persistd"
	}
	return cfg.Validate()
}

type demoCmd struct {
	Steps string `help:"File of steps to replay." type:"existingfile"`
}

func (cmd *demoCmd) Run() error { return nil }

type statusCmd struct {
	config.FileFlag `embed:""`
	NATS            config.NATS `embed:"" prefix:"nats-" group:"NATS"`
}

func (cmd *statusCmd) Run() error {
	fmt.Println("status", cmd.NATS.URL)
	return nil
}

type configCmd struct {
	Print configPrintCmd `cmd:"" help:"Print the settings in force as a YAML file, secrets masked."`
}

type configPrintCmd struct {
	config.Flags `embed:""`
}

func (cmd *configPrintCmd) Run(env config.LookupEnv) error {
	cfg, err := cmd.Complete(env)
	if err != nil {
		return err
	}
	fmt.Println(strings.Count(cfg.Redacted(), "\n") > 100)
	return cfg.Validate()
}

func run(args []string, env config.LookupEnv) error {
	var grammar cli
	options := append(config.Options(env), kong.Name("persistd"), kong.Writers(os.Stdout, os.Stderr), kong.Bind(env))
	parser, err := kong.New(&grammar, options...)
	if err != nil {
		return err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return ctx.Run()
}

func ExampleOptions() {
	env := environment{"MYSQL_DSN": "app:secret@tcp(db:3306)/langgraph", "PERSISTD_NATS_URL": "nats://nats:4222"}.lookup
	for _, args := range [][]string{
		{"--stream-partitions=16"},
		{"serve", "--nats-url=nats://other:4222", "--batch-rows=0", "--log-level=loud"},
		{"dev"},
		{"demo"},
		{"status"},
		{"config", "print"},
	} {
		if err := run(args, env); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// serve nats://nats:4222 16 ******
	// batch.rows: must be 1..10000 (got 0)
	// log.level: must be debug or info or warn or error (got loud)
	// status nats://nats:4222
	// true
}
