//! Builders of models and of non-model types.
//!
//! Owns setters and `build`, which reports everything that is wrong at once.

use landfall_core::{FieldDef, ModelDef, Scalar};
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::names::{Scope, snake};
use super::types::{Generator, Member};

/// Who gives a field its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// The app, by a setter.
    ByApp,
    /// The app, by a setter; otherwise a fresh identifier is made.
    ByAppOrMade,
    /// A fresh identifier is made.
    Made,
    /// The server; the field is missing until then.
    ByServer,
}

/// A field as the builder sees it.
pub(super) struct Part<'m> {
    member: &'m Member<'m>,
    given: Given,
}

/// A relation that a setter sets by the other's key.
pub(super) struct Link<'s> {
    /// The relation field.
    pub(super) field: &'s FieldDef,
    /// The other model.
    pub(super) other: &'s ModelDef,
    /// Foreign keys of this model with the key fields of the other.
    pub(super) keys: Vec<(Ident, Ident)>,
}

impl<'m> Part<'m> {
    pub(super) fn of(member: &'m Member<'m>, given: Given) -> Self {
        Self { member, given }
    }

    fn is_settable(&self) -> bool {
        matches!(self.given, Given::ByApp | Given::ByAppOrMade)
    }

    /// What the field is in `build`, before it is known to be there.
    fn local(&self) -> Ident {
        format_ident!("field_{}", self.member.ident)
    }
}

impl Generator<'_> {
    /// The builder; `rest` are fields of the struct that are neither stored nor set.
    pub(super) fn builder(
        &self,
        name: &str,
        parts: &[Part<'_>],
        links: &[Link<'_>],
        rest: &TokenStream,
    ) -> TokenStream {
        let root = &self.root;
        let ident = self.type_ident(name);
        let builder = self.builder_ident(name);
        let doc = format!(" Builder of [`{ident}`]; `build` says everything that is missing.");
        let settable: Vec<&Part<'_>> = parts.iter().filter(|part| part.is_settable()).collect();
        let idents = settable.iter().map(|part| &part.member.ident);
        let types = settable.iter().map(|part| &part.member.ty);
        let mut scope = Scope::with(&["build"]);
        let setters: Vec<TokenStream> = settable
            .iter()
            .map(|part| self.setter(part, &mut scope))
            .collect();
        let links = links.iter().map(|link| self.link_setter(link, &mut scope));
        let build = self.build(name, parts, rest);
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, Default)]
            #[must_use = "a builder makes nothing until `build` is called"]
            pub struct #builder {
                #(#idents: #root::__private::Pending<#types>,)*
            }

            impl #builder {
                #(#setters)*
                #(#links)*
                #build
            }
        }
    }

    fn setter(&self, part: &Part<'_>, scope: &mut Scope) -> TokenStream {
        let root = &self.root;
        let Member { def, ident, ty } = part.member;
        let setter = scope.take(&snake(&def.name));
        let doc = match part.given {
            Given::ByAppOrMade => format!(" Sets `{}: {def}`; left out, it is made.", def.name),
            _ if has_default(def) => {
                let default = def.default.as_deref().unwrap_or_default();
                format!(" Sets `{}: {def}`; left out, it is {default:?}.", def.name)
            }
            _ => format!(" Sets `{}: {def}`.", def.name),
        };
        quote! {
            #[doc = #doc]
            pub fn #setter(mut self, value: impl #root::IntoField<#ty>) -> Self {
                self.#ident.set(value);
                self
            }
        }
    }

    fn link_setter(&self, link: &Link<'_>, scope: &mut Scope) -> TokenStream {
        let setter = scope.take(&snake(&link.field.name));
        let other = self.type_ident(&link.other.name);
        let doc = format!(
            "Sets the relation `{}` to a record of [`{other}`].",
            link.field.name
        );
        let sets = link
            .keys
            .iter()
            .map(|(target, key)| quote!(self.#target.set(::core::clone::Clone::clone(&other.#key));));
        quote! {
            #[doc = #doc]
            pub fn #setter(mut self, other: &#other) -> Self {
                #(#sets)*
                self
            }
        }
    }

    fn build(&self, name: &str, parts: &[Part<'_>], rest: &TokenStream) -> TokenStream {
        let root = &self.root;
        let ident = self.type_ident(name);
        let locals: Vec<Ident> = parts.iter().map(Part::local).collect();
        let idents = parts.iter().map(|part| &part.member.ident);
        let takes = parts.iter().map(|part| self.take(name, part));
        let count = parts.len();
        let doc = format!(" Makes the [`{ident}`].");
        quote! {
            #[doc = #doc]
            ///
            /// # Errors
            /// Every field that is missing, and everything that a save would refuse.
            pub fn build(self) -> ::core::result::Result<#ident, #root::BuildError> {
                let mut fields = #root::__private::BuildFields::of(schema(), #name, #count);
                #(let #locals = #takes;)*
                fields.build(|| Some(#ident { #(#idents: #locals?,)* #rest }))
            }
        }
    }

    /// Takes a field out of the builder, or makes it.
    fn take(&self, name: &str, part: &Part<'_>) -> TokenStream {
        let root = &self.root;
        let Member { def, ident, ty } = part.member;
        let field = def.name.as_str();
        let make = match part.given {
            Given::Made => return quote!(fields.made(#root::__private::new_id())),
            Given::ByServer => return quote!(fields.made(None)),
            Given::ByAppOrMade => quote!(#root::__private::new_id),
            Given::ByApp if has_default(def) => {
                quote!(|| #root::__private::default_of::<#ty>(schema(), #name, #field))
            }
            Given::ByApp if !def.required => quote!(|| None),
            Given::ByApp => return quote!(fields.required(self.#ident, #field)),
        };
        quote!(fields.or_else(self.#ident, #make))
    }
}

/// Whether a field that is left out has a value nevertheless.
fn has_default(field: &FieldDef) -> bool {
    field.default_value().is_some()
}

/// Whether identifiers that the store makes, which are texts, fit a key field.
pub(super) fn can_be_made(field: &FieldDef) -> bool {
    use landfall_core::FieldType;
    matches!(field.ty, FieldType::Scalar(Scalar::Id | Scalar::String))
}
