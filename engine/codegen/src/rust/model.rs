//! Models of the schema as Rust structs.
//!
//! Owns the struct, its typed fields and relations, `copy_of`, and the implementation of `Model`.

use landfall_core::{Association, FieldDef, FieldType, KeyKind, ModelDef, Scalar};
use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::builder::{Given, Link, Part, can_be_made};
use super::names::{Scope, snake};
use super::types::{Generator, Member};

/// A model with the Rust names of its parts.
struct Shape<'s> {
    def: &'s ModelDef,
    members: Vec<Member<'s>>,
    /// Where the row it was read from is kept.
    base: Ident,
    /// Where the server's metadata is kept.
    sync: Ident,
}

impl<'s> Generator<'s> {
    /// The struct with everything that belongs to it.
    pub(super) fn model(&self, def: &'s ModelDef) -> TokenStream {
        let mut scope = Scope::with(&[]);
        let members = self.members(&def.name, def.stored_fields(), &mut scope);
        let shape = Shape {
            def,
            members,
            base: scope.take("base"),
            sync: scope.take("sync"),
        };
        let parts: Vec<Part<'_>> = shape
            .members
            .iter()
            .map(|member| Part::of(member, given(def, member.def)))
            .collect();
        let Shape { base, sync, .. } = &shape;
        let root = &self.root;
        let rest = quote!(#base: #root::Base::NONE, #sync: None,);
        let structure = self.structure(&shape);
        let functions = self.functions(&shape);
        let implementation = self.implementation(&shape);
        let builder = self.builder(&def.name, &parts, &self.links(&shape), &rest);
        quote! {
            #structure
            #functions
            #implementation
            #builder
        }
    }

    fn structure(&self, shape: &Shape<'_>) -> TokenStream {
        let root = &self.root;
        let Shape {
            def,
            members,
            base,
            sync,
        } = shape;
        let ident = self.type_ident(&def.name);
        let doc = format!(" Model `{}` of the schema.", def.name);
        let docs = members.iter().map(|member| field_doc(def, member.def));
        let (idents, types): (Vec<_>, Vec<_>) =
            members.iter().map(|member| (&member.ident, &member.ty)).unzip();
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, PartialEq)]
            pub struct #ident {
                #(#[doc = #docs] pub #idents: #types,)*
                #base: #root::Base,
                #sync: ::core::option::Option<#root::SyncMetadata>,
            }
        }
    }

    /// `builder`, `copy_of`, and one function for each field and relation.
    fn functions(&self, shape: &Shape<'_>) -> TokenStream {
        let root = &self.root;
        let Shape { def, members, .. } = shape;
        let ident = self.type_ident(&def.name);
        let builder = self.builder_ident(&def.name);
        let mut scope = Scope::with(&["builder", "copy_of"]);
        let fields: Vec<TokenStream> = members
            .iter()
            .map(|Member { def, ty, .. }| {
                let function = scope.take(&snake(&def.name));
                let name = def.name.as_str();
                let doc = format!(" Field `{name}: {def}`, for predicates and sorting.");
                quote! {
                    #[doc = #doc]
                    pub const fn #function() -> #root::Field<Self, #ty> {
                        #root::Field::new(#name)
                    }
                }
            })
            .collect();
        let relations = def.relations().filter_map(|(field, association)| {
            let FieldType::Model(other) = &field.ty else {
                return None;
            };
            let function = scope.take(&snake(&field.name));
            let name = field.name.as_str();
            let other = self.type_ident(other);
            let kind = match association {
                Association::BelongsTo { .. } => quote!(BelongsTo),
                Association::HasOne { .. } => quote!(HasOne),
                Association::HasMany { .. } => quote!(HasMany),
            };
            let doc = format!(" Relation `{name}: {field}`.");
            Some(quote! {
                #[doc = #doc]
                pub const fn #function() -> #root::#kind<Self, #other> {
                    #root::#kind::new(#name)
                }
            })
        });
        let relations: Vec<TokenStream> = relations.collect();
        let copy_of = copy_of(shape);
        quote! {
            impl #ident {
                /// A builder without any field set.
                pub fn builder() -> #builder {
                    ::core::default::Default::default()
                }

                #copy_of
                #(#fields)*
                #(#relations)*
            }
        }
    }

    fn implementation(&self, shape: &Shape<'_>) -> TokenStream {
        let root = &self.root;
        let Shape {
            def,
            members,
            base,
            sync,
        } = shape;
        let ident = self.type_ident(&def.name);
        let name = def.name.as_str();
        let idents: Vec<&Ident> = members.iter().map(|member| &member.ident).collect();
        let names = members.iter().map(|member| member.def.name.as_str());
        let key = def
            .key_slots()
            .iter()
            .map(|slot| self.id_part(&members[slot.index()]));
        quote! {
            impl #root::Model for #ident {
                const NAME: &'static str = #name;

                fn schema() -> &'static ::std::sync::Arc<#root::Schema> {
                    schema()
                }

                fn record_id(&self) -> #root::RecordId {
                    #root::RecordId::new(::std::vec![#(#key),*])
                }

                fn to_values(&self) -> ::std::vec::Vec<#root::Value> {
                    ::std::vec![#(#root::FieldValue::to_value(&self.#idents)),*]
                }

                fn base(&self) -> &#root::Base {
                    &self.#base
                }

                fn from_parts(
                    values: ::std::vec::Vec<#root::Value>,
                    #sync: ::core::option::Option<#root::SyncMetadata>,
                    #base: #root::Base,
                ) -> ::core::result::Result<Self, #root::DecodeError> {
                    let mut values = values.into_iter();
                    Ok(Self {
                        #(#idents: #root::__private::take_value(&mut values, #name, #names)?,)*
                        #base,
                        #sync,
                    })
                }

                fn sync_metadata(&self) -> ::core::option::Option<#root::SyncMetadata> {
                    self.#sync
                }
            }
        }
    }

    /// A key field as a part of the identifier.
    fn id_part(&self, member: &Member<'_>) -> TokenStream {
        let root = &self.root;
        let part = quote!(#root::__private::IdPart);
        let ident = &member.ident;
        match &member.def.ty {
            FieldType::Scalar(Scalar::Boolean) => quote!(#part::Bool(self.#ident)),
            FieldType::Scalar(Scalar::Int) => quote!(#part::Int(i64::from(self.#ident))),
            FieldType::Scalar(Scalar::AwsTimestamp) => quote!(#part::Int(self.#ident.0)),
            FieldType::Enum(_) => quote!(#part::Text(self.#ident.as_str().into())),
            FieldType::Scalar(Scalar::Id | Scalar::String) => {
                quote!(#part::Text(::core::clone::Clone::clone(&self.#ident)))
            }
            _ => quote!(#part::Text(::std::string::ToString::to_string(&self.#ident))),
        }
    }

    /// Relations whose foreign keys this model holds and the app may set.
    fn links(&self, shape: &Shape<'s>) -> Vec<Link<'s>> {
        let member = |name: &str| shape.members.iter().find(|member| member.def.name == *name);
        let mut links = Vec::new();
        for (field, association) in shape.def.relations() {
            let FieldType::Model(other) = &field.ty else {
                continue;
            };
            let Some(other) = self.schema.model(other) else {
                continue;
            };
            let others = self.members(&other.name, other.stored_fields(), &mut Scope::with(&[]));
            let keys: Vec<(Ident, Ident)> = association
                .targets()
                .iter()
                .zip(other.key_slots())
                .filter_map(|(target, slot)| {
                    let (target, key) = (member(target)?, others.get(slot.index())?);
                    let settable = matches!(given(shape.def, target.def), Given::ByApp | Given::ByAppOrMade);
                    let fits = settable && same_rust_type(target.def, key.def);
                    fits.then(|| (target.ident.clone(), key.ident.clone()))
                })
                .collect();
            if !keys.is_empty() && keys.len() == association.targets().len() {
                links.push(Link { field, other, keys });
            }
        }
        links
    }
}

/// `copy_of`: a changed copy that is still the same record.
fn copy_of(shape: &Shape<'_>) -> TokenStream {
    let kept: Vec<&Ident> = shape
        .members
        .iter()
        .filter(|member| member.def.read_only || shape.def.key.fields.contains(&member.def.name))
        .map(|member| &member.ident)
        .chain([&shape.base, &shape.sync])
        .collect();
    quote! {
        /// A copy with changes, to be saved as the next state of the same record.
        ///
        /// The identifier and what only the server writes are kept, whatever `change` does to them.
        #[must_use]
        pub fn copy_of(original: &Self, change: impl ::core::ops::FnOnce(&mut Self)) -> Self {
            let mut draft = ::core::clone::Clone::clone(original);
            change(&mut draft);
            #(draft.#kept = ::core::clone::Clone::clone(&original.#kept);)*
            draft
        }
    }
}

/// Who gives a field its value when a record is made.
fn given(model: &ModelDef, field: &FieldDef) -> Given {
    let is_only_key = *model.key.fields == [field.name.clone()];
    match model.key.kind {
        _ if field.read_only && !field.required => Given::ByServer,
        KeyKind::Managed if is_only_key && can_be_made(field) => Given::Made,
        KeyKind::OptionallyManaged if is_only_key && can_be_made(field) => Given::ByAppOrMade,
        _ => Given::ByApp,
    }
}

/// Whether the values of one can be given to the other.
fn same_rust_type(a: &FieldDef, b: &FieldDef) -> bool {
    let is_text = |ty: &FieldType| matches!(ty, FieldType::Scalar(Scalar::Id | Scalar::String));
    a.list.is_none() && b.list.is_none() && (a.ty == b.ty || (is_text(&a.ty) && is_text(&b.ty)))
}

fn field_doc(model: &ModelDef, field: &FieldDef) -> String {
    let mut doc = format!(" `{}: {field}`", field.name);
    if model.key.fields.contains(&field.name) {
        doc.push_str(", part of the identifier");
    } else if field.read_only {
        doc.push_str(", written by the server");
    }
    let holder = model
        .relations()
        .find(|(_, association)| association.targets().contains(&field.name));
    if let Some((relation, _)) = holder {
        doc.push_str(&format!(", holds the key of `{}`", relation.name));
    }
    doc
}
