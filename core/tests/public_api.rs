//! No foreign type in the public API, save in constructors named for it.
//!
//! Read from the sources: which folders may name which crate, and what the public signatures of those folders say.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::visit::{self, Visit};

const FOREIGN: [&str; 5] = ["mongodb", "bson", "rusqlite", "whatsapp_rust", "whatsapp_rust_ureq_http_client"];
/// Public functions whose name says that they take a driver's type.
const NAMED_FOR_IT: [&str; 2] = ["from_client", "from_client_with"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, syn::File)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 40, "the sources were not found");
    paths
        .into_iter()
        .map(|path| {
            let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
            (path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), file)
        })
        .collect()
}

fn may_name(path: &str, krate: &str) -> bool {
    match krate {
        "mongodb" | "bson" => path.starts_with("store/mongo"),
        "rusqlite" => path.starts_with("store/sqlite"),
        _ => path.starts_with("engine/"),
    }
}

#[derive(Default)]
struct Names {
    crates: HashSet<String>,
    /// Names that a `use` brings in from a foreign crate.
    imported: HashSet<String>,
    leaks: Vec<String>,
    /// All types of the crate that are declared `pub`.
    public_types: HashSet<String>,
}

impl Names {
    fn take_use(&mut self, tree: &syn::UseTree, foreign: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                let name = path.ident.to_string();
                let foreign = foreign || FOREIGN.contains(&name.as_str());
                if FOREIGN.contains(&name.as_str()) {
                    self.crates.insert(name);
                }
                self.take_use(&path.tree, foreign);
            }
            syn::UseTree::Name(name) if foreign => {
                self.imported.insert(name.ident.to_string());
            }
            syn::UseTree::Rename(rename) if foreign => {
                self.imported.insert(rename.rename.to_string());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.take_use(item, foreign)),
            _ => {}
        }
    }

    fn check(&mut self, what: &str, tokens: impl ToTokens) {
        let text = tokens.to_token_stream().to_string();
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words {
            if FOREIGN.contains(&word) || self.imported.contains(word) {
                self.leaks.push(format!("{what}: {word}"));
            }
        }
    }
}

const CONVERSIONS: [&str; 4] = ["From", "TryFrom", "Into", "Deref"];

fn last_name(path: &syn::Path) -> String {
    path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

fn public_types(sources: &[(String, syn::File)]) -> HashSet<String> {
    let items = sources.iter().flat_map(|(_, file)| &file.items);
    items
        .filter_map(|item| match item {
            syn::Item::Struct(item) if is_public(&item.vis) => Some(item.ident.to_string()),
            syn::Item::Enum(item) if is_public(&item.vis) => Some(item.ident.to_string()),
            _ => None,
        })
        .collect()
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.take_use(&item.tree, false);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            let name = first.ident.to_string();
            if FOREIGN.contains(&name.as_str()) {
                self.crates.insert(name);
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_public(&item.vis) && !NAMED_FOR_IT.contains(&item.sig.ident.to_string().as_str()) {
            self.check(&item.sig.ident.to_string(), &item.sig);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_public(&item.vis) && !NAMED_FOR_IT.contains(&item.sig.ident.to_string().as_str()) {
            self.check(&item.sig.ident.to_string(), &item.sig);
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if is_public(&item.vis) {
            let name = item.ident.to_string();
            self.check(&name, &item.supertraits);
            for member in &item.items {
                match member {
                    syn::TraitItem::Fn(function) => self.check(&name, &function.sig),
                    syn::TraitItem::Type(associated) => self.check(&name, &associated.bounds),
                    _ => {}
                }
            }
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if is_public(&field.vis) {
            self.check(&field.ident.as_ref().map(ToString::to_string).unwrap_or_default(), &field.ty);
        }
        visit::visit_field(self, field);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        // A conversion is as public as the types on both sides, whatever stands before it.
        if let Some((_, path, _)) = &item.trait_
            && CONVERSIONS.contains(&last_name(path).as_str())
            && let syn::Type::Path(target) = &*item.self_ty
            && self.public_types.contains(&last_name(&target.path))
        {
            self.check("impl", path);
        }
        visit::visit_item_impl(self, item);
    }
}

#[test]
fn foreign_crates_are_named_only_where_they_belong_and_never_in_a_public_signature() {
    let mut wrong = Vec::new();
    let mut seen = HashSet::new();
    let sources = all_sources();
    let public_types = public_types(&sources);
    assert!(public_types.contains("Error") && public_types.contains("MongoStore"));
    for (path, file) in &sources {
        let mut names = Names { public_types: public_types.clone(), ..Names::default() };
        // Imports first: an item may stand above its `use`.
        for item in &file.items {
            if let syn::Item::Use(item) = item {
                names.take_use(&item.tree, false);
            }
        }
        names.visit_file(file);
        for krate in &names.crates {
            seen.insert(krate.clone());
            if !may_name(path, krate) {
                wrong.push(format!("{path} names {krate}"));
            }
        }
        // `engine` is private as a whole (next test); implementing the engine's traits is its business.
        if !path.starts_with("engine/") {
            wrong.extend(names.leaks.into_iter().map(|leak| format!("{path}: {leak} in a public signature")));
        }
    }
    assert!(seen.contains("mongodb") && seen.contains("rusqlite") && seen.contains("whatsapp_rust"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_engine_is_private() {
    let root = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let file = syn::parse_file(&root).unwrap();
    let engine = file.items.iter().find_map(|item| match item {
        syn::Item::Mod(module) if module.ident == "engine" => Some(module),
        _ => None,
    });
    assert!(matches!(engine.unwrap().vis, syn::Visibility::Inherited));
}
