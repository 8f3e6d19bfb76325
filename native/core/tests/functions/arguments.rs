//! Arguments of functions, against what gdb finds there when the function has just been called.

use std::path::Path;

use universal_tracer_core::functions::{Argument, Function, Location, Site, ValueType};

use super::support::{Directory, Segments, compiled, found, of_file, output};

/// What a call's arguments are: a name, and the value as C prints it.
type Values = &'static [(&'static str, &'static str)];

const C: &str = r#"
#include <stdio.h>
enum color { RED = -2, GREEN = 7 };
struct large { long words[3]; };
struct small { int x, y; };
__attribute__((noinline)) long many(char a, unsigned short b, int c, long d, const char *e, _Bool f,
                                    double x, enum color g, int *h, long i)
{ printf("%d%d%d%ld%s%d%f%d%p%ld", a, b, c, d, e, f, x, g, (void *)h, i); return i; }
__attribute__((noinline)) struct large big(int first, struct large second, int third)
{ printf("%d%d", first, third); second.words[0] += first; return second; }
__attribute__((noinline)) int mixed(int before, struct small both, int after)
{ printf("%d", both.x); return before + after; }
int main(void)
{
    struct large value = {{1, 2, 3}};
    struct small pair = {4, 5};
    many('*', 65521, -7919, 104729, "eleven", 1, 2.5, RED, 0, 7927);
    big(-13, value, 17);
    return mixed(19, pair, 23);
}
"#;
const MANY: Values = &[
    ("a", "42"),
    ("b", "65521"),
    ("c", "-7919"),
    ("d", "104729"),
    ("e", "eleven"),
    ("f", "1"),
    ("g", "-2"),
    ("h", "0"),
    ("i", "7927"),
];

const REGISTERS: [&str; 16] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// The location as an expression of gdb; `None` where it cannot be read.
fn place(location: Location) -> Option<String> {
    match location {
        Location::Register(number) => Some(format!("${}", REGISTERS[usize::from(number)])),
        Location::Stack(offset) => Some(format!("*(long *)($rsp + {offset})")),
        _ => None,
    }
}

/// A command that prints the value.
fn print(argument: &Argument) -> Option<String> {
    let at = place(argument.location)?;
    Some(match argument.kind {
        ValueType::Text => format!("printf \"%s\\n\", (char *)({at})"),
        ValueType::Counted { length } => {
            format!("output/r *((char *)({at}))@({})", place(length)?)
        }
        ValueType::Integer { bytes, signed } => {
            let sign = if signed { "signed" } else { "unsigned" };
            let kind = ["", "char", "short", "", "int", "", "", "", "long"][usize::from(bytes)];
            format!("printf \"%ld\\n\", (long)({sign} {kind})({at})")
        }
        ValueType::Boolean => format!("printf \"%ld\\n\", (long)({at}) & 1"),
        _ => format!("printf \"%ld\\n\", (long)({at})"),
    })
}

/// The values that gdb finds where the function's arguments should be when it is called: names with values.
fn values(path: &Path, function: &Function, address: u64) -> Option<Vec<(String, String)>> {
    let readable: Vec<_> = function
        .arguments
        .iter()
        .filter_map(|argument| Some((argument.name.clone()?, print(argument)?)))
        .collect();
    let breakpoint = format!("break *{address:#x}");
    let mut words = vec!["-nx", "-batch", "-ex", &breakpoint, "-ex", "run"];
    words.extend(["-ex", "set language c"]);
    for (_, command) in &readable {
        words.extend(["-ex", "echo @@", "-ex", command]);
    }
    words.extend(["-ex", "kill", path.to_str()?]);
    let text = output("gdb", &words)?;
    let found = text
        .split("@@")
        .skip(1)
        .map(|rest| rest.lines().next().unwrap_or_default().to_owned());
    Some(
        readable
            .into_iter()
            .map(|(name, _)| name)
            .zip(found)
            .collect(),
    )
}

fn address(path: &Path, function: &Function) -> u64 {
    let Site::User { entry, .. } = function.site else {
        panic!("{function:?}")
    };
    Segments::read(path).expect("binutils").address(entry)
}

fn one(path: &Path, name: &str) -> Function {
    let mut functions = found(&of_file(path, name));
    assert_eq!(functions.len(), 1, "{functions:?}");
    functions.remove(0)
}

#[test]
fn arguments_of_c_whatever_the_optimisation() {
    let directory = Directory::new();
    let source = directory.write("program.c", C);
    let path = directory.path("program");
    for flags in [
        &["-O0"][..],
        &["-O2"],
        &["-O2", "-gdwarf-4"],
        &["-O1", "-gz"],
    ] {
        let flags = [&["-g", "-no-pie"], flags].concat();
        if compiled(&source, &path, &flags).is_none() {
            return;
        }
        let many = one(&path, "many");
        let names: Vec<_> = many
            .arguments
            .iter()
            .filter_map(|one| one.name.as_deref())
            .collect();
        assert_eq!(
            names,
            ["a", "b", "c", "d", "e", "f", "x", "g", "h", "i"],
            "{flags:?}"
        );
        assert_eq!(
            many.arguments[6].location,
            Location::Unreadable,
            "in a vector register"
        );
        assert_eq!(
            many.result,
            Some(ValueType::Integer {
                bytes: 8,
                signed: true
            })
        );
        let Some(values) = values(&path, &many, address(&path, &many)) else {
            return;
        };
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(values, MANY, "{flags:?}");
        let big = one(&path, "big");
        let values = self::values(&path, &big, address(&path, &big)).expect("gdb was there");
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(values, [("first", "-13"), ("third", "17")], "{flags:?}");
        let mixed = one(&path, "mixed");
        let values = self::values(&path, &mixed, address(&path, &mixed)).expect("gdb was there");
        // behind a structure in registers only optimised code says where
        let truth = [("before", "19"), ("after", "23")];
        assert!(
            truth.starts_with(
                &values
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect::<Vec<_>>()
            ),
            "{values:?}"
        );
        assert!(!values.is_empty());
    }
}

const GO: &str = r#"package main

import "os"

type pair struct{ first, second int }

//go:noinline
func many(a int8, text string, b uint16, list []int, p pair, last *int) (string, error) {
	println(a, text, b, len(list), p.second, last)
	return text, nil
}

func main() {
	many(-3, os.Args[0][:0]+"eleven", 65521, []int{1, 2}, pair{5, 7}, nil)
}
"#;

#[test]
fn arguments_of_go() {
    let directory = Directory::new();
    let source = directory.write("main.go", GO);
    for flags in [&[][..], &["-gcflags=all=-N -l"]] {
        let path = directory.path("program");
        let name = path.to_str().expect("UTF-8");
        let source = source.to_str().expect("UTF-8");
        let words = [&["build", "-o", name], flags, &[source]].concat();
        if output("go", &words).is_none() {
            return;
        }
        let many = one(&path, "main.many");
        let names: Vec<_> = many
            .arguments
            .iter()
            .filter_map(|one| one.name.as_deref())
            .collect();
        assert_eq!(names, ["a", "text", "b", "list", "p", "last"], "{flags:?}");
        assert!(matches!(
            many.result,
            Some(ValueType::Counted {
                length: Location::Register(3)
            })
        ));
        let Some(values) = values(&path, &many, address(&path, &many)) else {
            return;
        };
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim_matches('"')))
            .collect();
        let truth = [
            ("a", "-3"),
            ("text", "eleven"),
            ("b", "65521"),
            ("last", "0"),
        ];
        assert_eq!(values, truth, "{flags:?}");
    }
}

#[test]
fn methods_and_references_of_cpp() {
    let directory = Directory::new();
    let source = directory.write(
        "program.cc",
        "#include <string>
         struct Box { int value; int add(int, const int &, std::string) const; };
         __attribute__((noinline)) int Box::add(int more, const int &, std::string text) const
         { return value + more + text.size(); }
         int main() { Box box{1}; int other = 2; return box.add(3, other, \"x\"); }",
    );
    let path = directory.path("program");
    if compiled(&source, &path, &["-g", "-O1"]).is_none() {
        return;
    }
    let add = one(&path, "Box::add");
    let told: Vec<_> = add
        .arguments
        .iter()
        .map(|one| (one.name.as_deref(), one.kind))
        .collect();
    let int = ValueType::Integer {
        bytes: 4,
        signed: true,
    };
    assert_eq!(
        told[..2],
        [(Some("this"), ValueType::Pointer), (Some("more"), int)]
    );
    assert_eq!((told[3].0, told[3].1), (Some("text"), ValueType::Other));
    assert_eq!(add.arguments[1].location, Location::Register(4));
    assert_eq!(add.result, Some(int));
}
