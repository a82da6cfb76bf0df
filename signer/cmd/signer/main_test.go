package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pkg/xattr"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmseal/vmseal/formats/ima"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"signer": main})
}

// TestScripts runs the scripts of testdata. Beyond what testscript has, a script
// knows the conditions [label], that security.ima can be set, and [tool:NAME];
// and the commands
//
//	label FILE OUT      write security.ima as one line of hexadecimal
//	! label FILE        there is none
//	flip FILE OFFSET    change a bit of security.ima
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"label": label,
			"flip":  flip,
		},
	})
}

// condition is false for what this machine cannot do, but an error where tests
// must not be left out.
func condition(cond string) (bool, error) {
	var err error
	if tool, ok := strings.CutPrefix(cond, "tool:"); ok {
		_, err = exec.LookPath(tool)
	} else if cond == "label" {
		err = canLabel()
	} else {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if err != nil && os.Getenv("VMSEAL_REQUIRE_TOOLS") != "" {
		return false, err
	}
	return err == nil, nil
}

func canLabel() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := filepath.Join(dir, "f")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		return err
	}
	return xattr.LSet(f, ima.XattrName, []byte{1})
}

func label(ts *testscript.TestScript, neg bool, args []string) {
	value, err := xattr.LGet(ts.MkAbs(args[0]), ima.XattrName)
	if neg {
		if err == nil {
			ts.Fatalf("%s has a label: %x", args[0], value)
		}
		return
	}
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), fmt.Appendf(nil, "%x\n", value), 0o600))
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	value, err := xattr.LGet(path, ima.XattrName)
	ts.Check(err)
	i, err := strconv.Atoi(args[1])
	ts.Check(err)
	value[i] ^= 1
	ts.Check(xattr.LSet(path, ima.XattrName, value))
}
