//! Non-model types of the schema as Rust structs.

use landfall_core::NonModelDef;
use proc_macro2::TokenStream;
use quote::quote;

use super::builder::{Given, Part};
use super::names::Scope;
use super::types::Generator;

impl Generator<'_> {
    /// The struct with its builder and its conversion from and to field values.
    pub(super) fn object(&self, def: &NonModelDef) -> TokenStream {
        let root = &self.root;
        let ident = self.type_ident(&def.name);
        let builder = self.builder_ident(&def.name);
        let name = &def.name;
        let members = self.members(name, def.fields.values(), &mut Scope::with(&[]));
        let doc = format!(" Type `{name}` of the schema.");
        let docs = members
            .iter()
            .map(|member| format!(" `{}: {}`", member.def.name, member.def));
        let (idents, types): (Vec<_>, Vec<_>) =
            members.iter().map(|member| (&member.ident, &member.ty)).unzip();
        let names: Vec<&str> = members.iter().map(|member| member.def.name.as_str()).collect();
        let parts = members
            .iter()
            .map(|member| Part::of(member, Given::ByApp))
            .collect::<Vec<_>>();
        let builder_code = self.builder(name, &parts, &[], &TokenStream::new());
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, PartialEq)]
            pub struct #ident {
                #(#[doc = #docs] pub #idents: #types,)*
            }

            impl #ident {
                /// A builder without any field set.
                pub fn builder() -> #builder {
                    ::core::default::Default::default()
                }
            }

            impl #root::NonModel for #ident {
                const NAME: &'static str = #name;

                fn to_members(&self) -> ::std::collections::BTreeMap<::std::string::String, #root::Value> {
                    ::std::collections::BTreeMap::from([
                        #((#names.into(), #root::FieldValue::to_value(&self.#idents)),)*
                    ])
                }

                fn from_members(
                    mut members: ::std::collections::BTreeMap<::std::string::String, #root::Value>,
                ) -> ::core::result::Result<Self, #root::ValueFault> {
                    Ok(Self {
                        #(#idents: #root::__private::take_member(&mut members, #names)?,)*
                    })
                }
            }

            impl #root::FieldValue for #ident {
                type Base = Self;

                fn to_value(&self) -> #root::Value {
                    #root::Value::Object(#root::NonModel::to_members(self))
                }

                fn from_value(value: #root::Value) -> ::core::result::Result<Self, #root::ValueFault> {
                    match value {
                        #root::Value::Object(members) => #root::NonModel::from_members(members),
                        other => Err(#root::ValueFault::kind("an object", &other)),
                    }
                }
            }

            #builder_code
        }
    }
}
