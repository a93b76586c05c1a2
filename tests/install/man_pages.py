# SPDX-License-Identifier: MIT
"""What the manual pages, the headers and the version script say of each other.

    man_pages.py SRCDIR check CHECK ...     a line for each disagreement
    man_pages.py SRCDIR extract DIRECTORY   the programs of the EXAMPLES sections and
                                            of README.md, as DIRECTORY/PAGE.NUMBER.c,
                                            and what they print, if the page says it,
                                            as DIRECTORY/PAGE.NUMBER.out

The status is 1 if a check found anything. man.sh uses it.
"""
import errno
import glob
import os
import re
import sys


def read(*path):
    with open(os.path.join(SRCDIR, *path), encoding="utf-8") as f:
        return f.read()


HEADERS = "sdestore.h", os.path.join("sdestore", "backend.h"), os.path.join("sdestore", "mpi.h")
MAPS = os.path.join("lib", "sdestore.map"), os.path.join("lib", "mpi", "sdestore-mpi.map")


def page_files(section):
    return sorted(glob.glob(os.path.join(SRCDIR, "man", "*." + section)))


# ---------------------------------------------------------------------------
# Headers: without comments and preprocessor lines, as far as C of our own needs

def declarations():
    text = "".join(read("include", h) for h in HEADERS)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^#.*(\\\n.*)*$", "", text, flags=re.M)
    return re.sub(r'extern "C" \{', "", text)


def normal(c):
    """One blank between words and none else: the same declaration, the same text."""
    c = re.sub(r"\s+", " ", c)
    return re.sub(r" ?([^\w ]) ?", r"\1", c).strip()


def header_prototypes():
    found = {}
    for match in re.finditer(r"(?:^|[;}])\s*((?:\w+[\s*]+)+)(sde_\w+)\s*\(([^;{}]*)\)\s*(?=;)",
                             declarations()):
        if not match[1].startswith("typedef"):
            found[match[2]] = normal(match[1] + match[2] + "(" + match[3] + ")")
    return found


def struct_members(name):
    body = re.search(r"struct %s \{(.*?)\n\};" % name, declarations(), re.S)[1]
    body = re.sub(r"\(\*(\w+)\)\s*\([^;]*", r" \1", body)
    return [re.sub(r"\[.*", "", m).split()[-1].lstrip("*")
            for statement in body.split(";") if statement.strip()
            for m in statement.split(",")]


def constants():
    """Of all enums: name to value."""
    found = {}
    for body in re.findall(r"enum \w+ \{(.*?)\}", declarations(), re.S):
        found.update(re.findall(r"(SDE_\w+)\s*=\s*(-?\d+)", body))
    return found


def map_symbols():
    """Not sde__..., which one of our libraries exports for another."""
    return re.findall(r"^\s*(sde_[a-z0-9]\w*);", "".join(map(read, MAPS)), re.M)


# ---------------------------------------------------------------------------
# Pages

def sections(text):
    parts = re.split(r"^\.Sh (.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def page_names(text):
    return re.findall(r"^\.Nm (\w+)", sections(text)["NAME"], re.M)


def page_prototypes(text):
    """.Ft TYPE .Fo NAME .Fa ARGUMENT ... .Fc"""
    found = {}
    for kind, name, body in re.findall(r"^\.Ft (.*)\n\.Fo (\w+)\n((?:\.Fa .*\n)*)\.Fc",
                                       sections(text)["SYNOPSIS"], re.M):
        arguments = [a.strip('"') for a in re.findall(r"^\.Fa (.*)", body, re.M)]
        found[name] = normal(kind.strip('"') + " " + name + "(" + ",".join(arguments) + ")")
    return found


def pages():
    return {os.path.basename(p): read("man", os.path.basename(p)) for p in page_files("3")}


# ---------------------------------------------------------------------------
# Checks: each yields a sentence for whatever does not hold

def check_names():
    where = {}
    for page, text in pages().items():
        names = page_names(text)
        if page != names[0] + ".3":
            yield "%s is not called after its first name, %s" % (page, names[0])
        for name in names:
            if name in where:
                yield "%s is in %s and %s" % (name, where[name], page)
            where[name] = page
    for name in sorted(set(map_symbols()) - set(where)):
        yield "%s has no page" % name
    for name in sorted(set(where) - set(map_symbols())):
        yield "%s has a page and is not exported" % name


def check_prototypes():
    headers = header_prototypes()
    if sorted(headers) != sorted(map_symbols()):
        yield "headers and version script differ: %s" % sorted(set(headers) ^ set(map_symbols()))
    for page, text in pages().items():
        found = page_prototypes(text)
        if sorted(found) != sorted(page_names(text)):
            yield "%s: NAME and SYNOPSIS differ" % page
        for name, prototype in found.items():
            if prototype != headers.get(name):
                yield "%s: %s\n  header: %s" % (page, prototype, headers.get(name))


def check_sections():
    wanted = ["NAME", "SYNOPSIS", "DESCRIPTION", "THREADS", "RETURN VALUES", "EXAMPLES",
              "ERRORS", "SEE ALSO"]
    for page, text in pages().items():
        missing = [s for s in wanted if s not in sections(text)]
        if missing:
            yield "%s lacks %s" % (page, ", ".join(missing))


def check_codes():
    """Every code of enum sde_status is explained, with its number; no other is."""
    known = set(constants()) | set(errno.errorcode.values())
    status = {n: v for n, v in constants().items() if n == "SDE_OK" or n.startswith("SDE_E_")}
    if len(status) < 2:
        yield "no enum sde_status in the headers"
    errors = sections(read("man", "sde_strerror.3"))["ERRORS"]
    for name, value in status.items():
        if not re.search(r"^\.It Bq Er %s\n%s:" % (name, re.escape(value.replace("-", "\\-"))),
                         errors, re.M):
            yield "sde_strerror.3 does not say that %s is %s" % (name, value)
        if name != "SDE_OK" and ".It Bq Er %s\n" % name not in read("man", "sdestore.7"):
            yield "sdestore.7 does not explain %s" % name
    for page in page_files("3") + page_files("5") + page_files("7"):
        for words in re.findall(r"^\.(?:It Bq )?Er (.*)", read("man", page), re.M):
            for name in re.findall(r"\w+", words):
                if name not in known:
                    yield "%s: there is no code %s" % (os.path.basename(page), name)


def check_members():
    """Structs and constants of the headers are in the page that they belong to."""
    belongs = {"sde_ensemble": "sde_zarr_storage_create.3",
               "sde_zarr_options": "sde_zarr_storage_create.3",
               "sde_numpy_options": "sde_numpy_storage_create.3",
               "sde_npz_options": "sde_npz_write.3",
               "sde_open_options": "sde_storage_open.3",
               "sde_map_options": "sde_array_map.3",
               "sde_walk_options": "sde_array_walk.3", "sde_block": "sde_array_walk.3",
               "sde_storage_info": "sde_storage_info.3", "sde_verify": "sde_storage_info.3",
               "sde_repair_options": "sde_zarr_storage_repair.3",
               "sde_repair_step": "sde_zarr_storage_repair.3",
               "sde_damage": "sde_zarr_storage_repair.3",
               "sde_backend": "sde_storage_derive.3",
               "sde_derive_options": "sde_storage_derive.3"}
    for struct, page in belongs.items():
        items = " ".join(re.findall(r"^\.It Va (.*)", read("man", page), re.M))
        listed = re.findall(r"\w+", items)
        for member in struct_members(struct):
            if member not in listed:
                yield "%s does not explain %s of struct %s" % (page, member, struct)
    everything = "".join(pages().values())
    for name in constants():
        if not re.search(r"\b%s\b" % name, everything):
            yield "no page of section 3 has %s" % name


def check_references():
    """.Xr leads somewhere, if it leads to us."""
    own = {(n, "3") for text in pages().values() for n in page_names(text)}
    own |= {tuple(os.path.basename(p).rsplit(".", 1)) for p in page_files("[157]")}
    for path in page_files("[1-9]"):
        for name, section in re.findall(r"Xr (\S+) (\d)", read("man", path)):
            if name.startswith("sde") and (name, section) not in own:
                yield "%s: there is no %s(%s)" % (os.path.basename(path), name, section)


def check_fragments():
    """What in README.md is too short to be compiled still names what there is."""
    known = set(re.findall(r"\b(?:sde|SDE)_\w+",
                           "".join(read("include", h) for h in HEADERS)))
    for code in re.findall(r"^```c\n(.*?)^```", read("README.md"), re.M | re.S):
        for name in sorted(set(re.findall(r"\b(?:sde|SDE)_\w+", code)) - known):
            yield "README.md: there is no %s" % name


# ---------------------------------------------------------------------------
# Programs: displays that begin with #include

def unescaped(roff, page):
    text = roff.replace("\\e", "\0").replace("\\&", "").replace("\\-", "-")
    if "\\" in text:
        sys.exit("%s: an escape that is not known here" % page)
    return text.replace("\0", "\\")


def displays(text):
    """Of an EXAMPLES section: [line before, body]."""
    return re.findall(r"^([^\n]*)\n\.Bd -literal[^\n]*\n(.*?)^\.Ed", text, re.M | re.S)


def programs():
    """Name, source, output or None."""
    for path in page_files("3") + page_files("7"):
        page = os.path.basename(path)
        found = []
        for before, body in displays("\n" + sections(read("man", page)).get("EXAMPLES", "")):
            body = unescaped(body, page)
            if body.startswith("#include"):
                found.append([body, None])
            elif before.endswith("prints"):
                found[-1][1] = body
        for number, (source, output) in enumerate(found, 1):
            yield "%s.%d" % (page, number), source, output
    code = re.findall(r"^```c\n(.*?)^```", read("README.md"), re.M | re.S)
    for number, source in enumerate([c for c in code if c.startswith("#include")], 1):
        yield "README.%d" % number, source, None


def extract(directory):
    for name, source, output in programs():
        with open(os.path.join(directory, name + ".c"), "w", encoding="utf-8") as f:
            f.write(source)
        if output is not None:
            with open(os.path.join(directory, name + ".out"), "w", encoding="utf-8") as f:
                f.write(output)


def check(names):
    complaints = [c for name in names for c in globals()["check_" + name]()]
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    SRCDIR = sys.argv[1]
    if sys.argv[2] == "extract":
        extract(sys.argv[3])
    else:
        sys.exit(check(sys.argv[3:]))
