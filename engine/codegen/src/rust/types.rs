//! Rust types of fields, and the names of everything that is generated.
//!
//! Owns [`Generator`], which all parts of the generator share, and [`Member`], a stored field with its Rust names.

use std::collections::{BTreeMap, BTreeSet};

use landfall_core::{FieldDef, FieldType, NonModelDef, Scalar, Schema};
use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::names::{Scope, snake, type_name};

/// What all parts of the generator share.
pub(super) struct Generator<'s> {
    pub(super) schema: &'s Schema,
    /// Path of the crate that generated code names.
    pub(super) root: TokenStream,
    types: BTreeMap<String, Ident>,
    builders: BTreeMap<String, Ident>,
    /// Non-model types by the non-model types that are stored inside them, directly or not.
    contents: BTreeMap<String, BTreeSet<String>>,
}

/// A stored field of a model or of a non-model type.
pub(super) struct Member<'s> {
    pub(super) def: &'s FieldDef,
    /// Its name as a field of the struct and of the builder.
    pub(super) ident: Ident,
    /// Its type.
    pub(super) ty: TokenStream,
}

impl<'s> Generator<'s> {
    pub(super) fn new(schema: &'s Schema, root: TokenStream) -> Self {
        let mut scope = Scope::with(&[]);
        let names: Vec<&str> = schema
            .models()
            .map(|def| def.name.as_str())
            .chain(schema.enums().map(|def| def.name.as_str()))
            .chain(schema.non_models().map(|def| def.name.as_str()))
            .collect();
        let types: BTreeMap<String, Ident> = names
            .iter()
            .map(|name| ((*name).to_owned(), scope.take(&type_name(name))))
            .collect();
        let builders = names
            .iter()
            .map(|name| {
                (
                    (*name).to_owned(),
                    scope.take(&format!("{}Builder", type_name(name))),
                )
            })
            .collect();
        let contents = schema
            .non_models()
            .map(|def| (def.name.clone(), contents(schema, def)))
            .collect();
        Self {
            schema,
            root,
            types,
            builders,
            contents,
        }
    }

    /// The Rust type of a model, enum or non-model type of the schema.
    pub(super) fn type_ident(&self, name: &str) -> &Ident {
        &self.types[name]
    }

    /// The builder of a model or non-model type of the schema.
    pub(super) fn builder_ident(&self, name: &str) -> &Ident {
        &self.builders[name]
    }

    /// The stored fields with their Rust names, which are distinct from each other and from `taken`.
    pub(super) fn members(
        &self,
        owner: &str,
        fields: impl Iterator<Item = &'s FieldDef>,
        scope: &mut Scope,
    ) -> Vec<Member<'s>> {
        fields
            .map(|def| Member {
                def,
                ident: scope.take(&snake(&def.name)),
                ty: self.field_type(owner, def),
            })
            .collect()
    }

    /// The Rust type of a stored field.
    fn field_type(&self, owner: &str, field: &FieldDef) -> TokenStream {
        let base = self.base_type(&field.ty);
        let ty = match field.list {
            Some(list) if list.elements_required => quote!(::std::vec::Vec<#base>),
            Some(_) => quote!(::std::vec::Vec<::core::option::Option<#base>>),
            None if self.needs_box(owner, &field.ty) => quote!(::std::boxed::Box<#base>),
            None => base,
        };
        if field.required {
            ty
        } else {
            quote!(::core::option::Option<#ty>)
        }
    }

    fn base_type(&self, ty: &FieldType) -> TokenStream {
        let root = &self.root;
        match ty {
            FieldType::Scalar(scalar) => match scalar {
                Scalar::Id | Scalar::String => quote!(::std::string::String),
                Scalar::Int => quote!(i32),
                Scalar::Float => quote!(f64),
                Scalar::Boolean => quote!(bool),
                Scalar::AwsDate => quote!(#root::AwsDate),
                Scalar::AwsTime => quote!(#root::AwsTime),
                Scalar::AwsDateTime => quote!(#root::AwsDateTime),
                Scalar::AwsTimestamp => quote!(#root::AwsTimestamp),
                Scalar::AwsEmail => quote!(#root::AwsEmail),
                Scalar::AwsUrl => quote!(#root::AwsUrl),
                Scalar::AwsPhone => quote!(#root::AwsPhone),
                Scalar::AwsIpAddress => quote!(#root::AwsIpAddress),
                Scalar::AwsJson => quote!(#root::__private::serde_json::Value),
            },
            FieldType::Enum(name) | FieldType::NonModel(name) => {
                let ident = self.type_ident(name);
                quote!(#ident)
            }
            FieldType::Model(name) => {
                let ident = self.type_ident(name);
                quote!(#ident)
            }
        }
    }

    /// Whether a value of the type could contain the type that owns the field, which has no size then.
    fn needs_box(&self, owner: &str, ty: &FieldType) -> bool {
        let FieldType::NonModel(name) = ty else {
            return false;
        };
        name == owner
            || self
                .contents
                .get(name)
                .is_some_and(|contents| contents.contains(owner))
    }
}

/// Non-model types that are stored in values of a type without a list in between.
fn contents(schema: &Schema, def: &NonModelDef) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![def];
    while let Some(def) = open.pop() {
        for field in def.fields.values().filter(|field| field.list.is_none()) {
            if let FieldType::NonModel(name) = &field.ty
                && found.insert(name.clone())
            {
                open.extend(schema.non_model(name));
            }
        }
    }
    found
}
