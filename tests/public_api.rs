//! The public interface is listed in `tests/public_api.txt`, and each item in it is documented. The list is read from
//! the sources, with every feature on: all items that are reachable from `lib.rs` by public modules and re-exports that
//! are not hidden. After an intended change, `UPDATE_API=1 cargo test --test public_api` writes it again.

use quote::ToTokens;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, UseTree, Visibility};

/// A crate whose items are re-exported by name, and listed as if they were the runtime's own.
const BUNDLE: &str = "causalclipseg_bundle";

/// One module: its file's items, the folder of its children, and the sources of its crate.
struct Module {
    items: Vec<Item>,
    folder: PathBuf,
    sources: PathBuf,
}

fn read(file: &Path, folder: PathBuf, sources: PathBuf) -> Module {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Module { items: syn::parse_file(&text).unwrap().items, folder, sources }
}

impl Module {
    /// The root of the crate whose sources are in this folder.
    fn root(sources: PathBuf) -> Self {
        read(&sources.join("lib.rs"), sources.clone(), sources)
    }

    fn of_package(folder: &str) -> Self {
        Self::root(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("src"))
    }

    /// A child by its name; `None` where it does not exist, for example in another crate.
    fn child(&self, name: &str) -> Option<Module> {
        let found = self.items.iter().find_map(|item| match item {
            Item::Mod(module) if module.ident == name => Some(module),
            _ => None,
        })?;
        let folder = self.folder.join(name);
        Some(match &found.content {
            Some((_, items)) => Module { items: items.clone(), folder, sources: self.sources.clone() },
            None => {
                let file = self.folder.join(format!("{name}.rs"));
                let file = if file.is_file() { file } else { folder.join("mod.rs") };
                read(&file, folder, self.sources.clone())
            }
        })
    }
}

impl Module {
    /// Whether a name is that of a crate, or of a module of a crate, that is re-exported here.
    fn is_another_crates(&self, name: &str) -> bool {
        fn names(tree: &UseTree, name: &str) -> bool {
            match tree {
                UseTree::Path(step) => names(&step.tree, name),
                UseTree::Group(group) => group.items.iter().any(|tree| names(tree, name)),
                UseTree::Name(last) => last.ident == name,
                UseTree::Rename(rename) => rename.rename == name,
                UseTree::Glob(_) => false,
            }
        }
        self.items.iter().any(|item| matches!(item, Item::Use(import) if names(&import.tree, name)))
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn text_of(tokens: impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("& ", "&"),
        (" ,", ","),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" :", ":"),
        (" ;", ";"),
        ("[ ", "["),
        (" ]", "]"),
        ("-> ", " -> "),
        ("- >", "->"),
        ("  ", " "),
        (",)", ")"),
        (", }", " }"),
        ("* const", "*const"),
        ("* mut", "*mut"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// `cfg(feature = "x")` as a note after an item.
fn condition_of(attributes: &[Attribute]) -> String {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.map(|attribute| format!("  #[{}]", text_of(&attribute.meta))).collect()
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    docs.into_iter().any(|attribute| text_of(&attribute.meta) == "doc(hidden)")
        || attributes.iter().any(|attribute| text_of(&attribute.meta).starts_with("cfg(test)"))
}

/// Documented by a comment, or by the message of an error's variant.
fn is_documented(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc") || attribute.path().is_ident("error"))
}

fn is_open(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"))
}

#[derive(Default)]
struct Listing {
    lines: BTreeSet<String>,
    undocumented: Vec<String>,
    /// Errors, options and items that depend on features that are closed to additions.
    closed: Vec<String>,
}

impl Listing {
    fn add(&mut self, kind: &str, path: &str, rest: &str, attributes: &[Attribute], condition_of_parent: &str) {
        let space = if kind.is_empty() { "" } else { " " };
        let open = if is_open(attributes) { "  #[non_exhaustive]" } else { "" };
        self.lines.insert(format!("{kind}{space}{path}{rest}{open}{condition_of_parent}{}", condition_of(attributes)));
        let must_be_open =
            (kind == "enum" && path.ends_with("Error")) || (kind == "struct" && path.ends_with("Options"));
        if must_be_open && open.is_empty() {
            self.closed.push(path.to_string());
        }
        if !is_documented(attributes) {
            self.undocumented.push(path.to_string());
        }
    }

    /// Everything that is public in a module at `path`.
    fn module(&mut self, module: &Module, path: &str, condition_of_parent: &str) {
        for item in &module.items {
            match item {
                Item::Mod(child) if is_public(&child.vis) && !is_hidden(&child.attrs) => {
                    let name = child.ident.to_string();
                    let inner = module.child(&name).unwrap();
                    let path = format!("{path}::{name}");
                    let condition = format!("{condition_of_parent}{}", condition_of(&child.attrs));
                    self.lines.insert(format!("mod {path}{condition}"));
                    self.module(&inner, &path, &condition);
                }
                Item::Use(import) if is_public(&import.vis) && !is_hidden(&import.attrs) => {
                    let condition = format!("{condition_of_parent}{}", condition_of(&import.attrs));
                    self.import(module, &import.tree, &mut Vec::new(), path, &condition);
                }
                item => self.item(module, item, path, condition_of_parent),
            }
        }
    }

    fn import(&mut self, module: &Module, tree: &UseTree, way: &mut Vec<String>, path: &str, condition: &str) {
        match tree {
            UseTree::Path(step) => {
                way.push(step.ident.to_string());
                self.import(module, &step.tree, way, path, condition);
                way.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(module, tree, way, path, condition));
            }
            UseTree::Name(name) => self.re_export(module, way, &name.ident.to_string(), path, condition),
            UseTree::Rename(_) | UseTree::Glob(_) => panic!("{path}: name what is re-exported, as it is"),
        }
    }

    /// Adds an item that is defined elsewhere.
    fn re_export(&mut self, module: &Module, way: &[String], name: &str, path: &str, condition: &str) {
        let (start, way) = match way.first().map(String::as_str) {
            Some("crate") => (Some(Module::root(module.sources.clone())), &way[1..]),
            Some(BUNDLE) => (Some(Module::of_package("crates/bundle")), &way[1..]),
            Some(first) => (module.child(first), &way[1..]),
            None => panic!("{path}: `use {name}` of nothing"),
        };
        // An item of another crate.
        let Some(mut place) = start else {
            self.lines.insert(format!("use {path}::{name} of another crate{condition}"));
            return;
        };
        for step in way {
            match place.child(step) {
                Some(child) => place = child,
                None if place.is_another_crates(step) => {
                    self.lines.insert(format!("use {path}::{name} of another crate{condition}"));
                    return;
                }
                None => panic!("{path}::{name}: no module `{step}`"),
            }
        }
        self.named(&place, name, path, condition);
    }

    /// The item of this name in a module, whether defined or re-exported there.
    fn named(&mut self, module: &Module, name: &str, path: &str, condition: &str) {
        if let Some(item) = module.items.iter().find(|item| name_of(item).as_deref() == Some(name)) {
            return self.item(module, item, path, condition);
        }
        if let Some(inner) = module.child(name) {
            let path = format!("{path}::{name}");
            self.lines.insert(format!("mod {path}{condition}"));
            return self.module(&inner, &path, condition);
        }
        let imports =
            module.items.iter().filter_map(|item| if let Item::Use(import) = item { Some(import) } else { None });
        for import in imports {
            if let Some(way) = way_to(&import.tree, name) {
                return self.re_export(module, &way, name, path, condition);
            }
        }
        panic!("{path}::{name} was not found");
    }

    fn item(&mut self, module: &Module, item: &Item, path: &str, condition: &str) {
        match item {
            Item::Struct(s) if is_public(&s.vis) && !is_hidden(&s.attrs) => {
                let path = format!("{path}::{}", s.ident);
                self.add("struct", &path, &text_of(&s.generics), &s.attrs, condition);
                self.fields(&s.fields, &path, condition);
                self.methods(module, &s.ident.to_string(), &path, condition);
            }
            Item::Enum(e) if is_public(&e.vis) && !is_hidden(&e.attrs) => {
                let path = format!("{path}::{}", e.ident);
                self.add("enum", &path, &text_of(&e.generics), &e.attrs, condition);
                // A feature that is turned on must not break a match.
                if e.variants.iter().any(|variant| !condition_of(&variant.attrs).is_empty()) && !is_open(&e.attrs) {
                    self.closed.push(path.clone());
                }
                for variant in &e.variants {
                    let variant_path = format!("{path}::{}", variant.ident);
                    let mut fields = variant.fields.clone();
                    fields
                        .iter_mut()
                        .for_each(|field| field.attrs.retain(|attribute| !attribute.path().is_ident("doc")));
                    self.add("variant", &variant_path, &text_of(&fields), &variant.attrs, condition);
                }
                self.methods(module, &e.ident.to_string(), &path, condition);
            }
            Item::Fn(f) if is_public(&f.vis) && !is_hidden(&f.attrs) => {
                self.signature(&f.sig, path, &f.attrs, condition);
            }
            Item::Const(c) if is_public(&c.vis) && !is_hidden(&c.attrs) => {
                self.add(
                    "const",
                    &format!("{path}::{}", c.ident),
                    &format!(": {}", text_of(&c.ty)),
                    &c.attrs,
                    condition,
                );
            }
            Item::Type(t) if is_public(&t.vis) && !is_hidden(&t.attrs) => {
                self.add(
                    "type",
                    &format!("{path}::{}", t.ident),
                    &format!(" = {}", text_of(&t.ty)),
                    &t.attrs,
                    condition,
                );
            }
            Item::Trait(t) if is_public(&t.vis) && !is_hidden(&t.attrs) => {
                let path = format!("{path}::{}", t.ident);
                self.add("trait", &path, &text_of(&t.generics), &t.attrs, condition);
                for item in &t.items {
                    if let TraitItem::Fn(f) = item {
                        self.signature(&f.sig, &path, &f.attrs, condition);
                    }
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &Fields, path: &str, condition: &str) {
        for (number, field) in fields.iter().enumerate().filter(|(_, field)| is_public(&field.vis)) {
            let name = field.ident.as_ref().map_or_else(|| number.to_string(), |name| name.to_string());
            self.add(
                "field",
                &format!("{path}::{name}"),
                &format!(": {}", text_of(&field.ty)),
                &field.attrs,
                condition,
            );
        }
    }

    fn signature(&mut self, signature: &syn::Signature, path: &str, attributes: &[Attribute], condition: &str) {
        let text = text_of(signature);
        let name = signature.ident.to_string();
        let (before, after) = text.split_once(&format!("fn {name}")).unwrap();
        self.add(&format!("{before}fn"), &format!("{path}::{name}"), after, attributes, condition);
    }

    /// Adds the methods of a type's own `impl` blocks, which are in its file.
    fn methods(&mut self, module: &Module, name: &str, path: &str, condition: &str) {
        for item in &module.items {
            let Item::Impl(block) = item else { continue };
            let is_own = matches!(&*block.self_ty, syn::Type::Path(t) if t.path.segments.last().unwrap().ident == name);
            if block.trait_.is_some() || !is_own {
                continue;
            }
            for item in &block.items {
                match item {
                    ImplItem::Fn(f) if is_public(&f.vis) && !is_hidden(&f.attrs) => {
                        self.signature(&f.sig, path, &f.attrs, condition);
                    }
                    ImplItem::Const(c) if is_public(&c.vis) && !is_hidden(&c.attrs) => {
                        let place = format!("{path}::{}", c.ident);
                        self.add("const", &place, &format!(": {}", text_of(&c.ty)), &c.attrs, condition);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn name_of(item: &Item) -> Option<String> {
    Some(match item {
        Item::Struct(s) => s.ident.to_string(),
        Item::Enum(e) => e.ident.to_string(),
        Item::Fn(f) => f.sig.ident.to_string(),
        Item::Const(c) => c.ident.to_string(),
        Item::Type(t) => t.ident.to_string(),
        Item::Trait(t) => t.ident.to_string(),
        _ => return None,
    })
}

/// The modules before a name in an import.
fn way_to(tree: &UseTree, name: &str) -> Option<Vec<String>> {
    match tree {
        UseTree::Path(step) => {
            let mut way = vec![step.ident.to_string()];
            way.extend(way_to(&step.tree, name)?);
            Some(way)
        }
        UseTree::Group(group) => group.items.iter().find_map(|tree| way_to(tree, name)),
        UseTree::Name(found) if found.ident == name => Some(Vec::new()),
        _ => None,
    }
}

#[test]
fn the_public_surface_is_the_list() {
    let mut listing = Listing::default();
    listing.module(&Module::of_package("."), "causalclipseg", "");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/public_api.txt");
    let found = listing.lines.iter().fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(listing.undocumented, Vec::<String>::new(), "these are not documented");
    assert_eq!(listing.closed, Vec::<String>::new(), "these are not #[non_exhaustive]");
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let expected: BTreeSet<String> = expected.lines().map(String::from).collect();
    let new: Vec<&String> = listing.lines.difference(&expected).collect();
    let gone: Vec<&String> = expected.difference(&listing.lines).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the public surface changed. New: {new:#?} Gone: {gone:#?} If that is meant, write the list again with UPDATE_API=1"
    );
}
