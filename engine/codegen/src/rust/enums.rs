//! Enums of the schema as Rust enums.

use landfall_core::EnumDef;
use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::names::{Scope, pascal};
use super::types::Generator;

impl Generator<'_> {
    /// The enum with its conversions from and to text, serde and field values.
    pub(super) fn enumeration(&self, def: &EnumDef) -> TokenStream {
        let root = &self.root;
        let ident = self.type_ident(&def.name);
        let mut scope = Scope::with(&[]);
        let variants: Vec<Ident> = def
            .values
            .iter()
            .map(|value| scope.take(&pascal(value)))
            .collect();
        let texts = &def.values;
        let name = &def.name;
        let doc = format!(" Enum `{name}` of the schema.");
        let variant_docs = texts.iter().map(|text| format!(" `{text}`"));
        let expected = format!("one of {}", texts.join(", "));
        let conversions = conversions(self, ident);
        quote! {
            #[doc = #doc]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum #ident {
                #(#[doc = #variant_docs] #variants,)*
            }

            impl #ident {
                /// All values, in the order of the schema.
                pub const ALL: &'static [Self] = &[#(Self::#variants),*];

                /// All values as the schema writes them.
                const TEXTS: &'static [&'static str] = &[#(#texts),*];

                /// The value as the schema writes it.
                pub const fn as_str(self) -> &'static str {
                    match self {
                        #(Self::#variants => #texts,)*
                    }
                }
            }

            impl ::core::str::FromStr for #ident {
                type Err = #root::UnknownEnumValue;

                fn from_str(text: &str) -> ::core::result::Result<Self, #root::UnknownEnumValue> {
                    match text {
                        #(#texts => Ok(Self::#variants),)*
                        _ => Err(#root::UnknownEnumValue { name: #name, text: text.into(), known: Self::TEXTS }),
                    }
                }
            }

            impl #root::FieldValue for #ident {
                type Base = Self;

                fn to_value(&self) -> #root::Value {
                    #root::Value::String(self.as_str().into())
                }

                fn from_value(value: #root::Value) -> ::core::result::Result<Self, #root::ValueFault> {
                    match value.as_str() {
                        Some(text) => text.parse().map_err(|_| #root::ValueFault::new(#expected, text)),
                        None => Err(#root::ValueFault::kind(#expected, &value)),
                    }
                }
            }

            #conversions
        }
    }
}

/// What is the same for all enums.
fn conversions(generator: &Generator<'_>, ident: &Ident) -> TokenStream {
    let root = &generator.root;
    let serde = quote!(#root::__private::serde);
    quote! {
        impl ::core::fmt::Display for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl #serde::Serialize for #ident {
            fn serialize<S: #serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> #serde::Deserialize<'de> for #ident {
            fn deserialize<D: #serde::Deserializer<'de>>(deserializer: D) -> ::core::result::Result<Self, D::Error> {
                let text = <::std::string::String as #serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(<D::Error as #serde::de::Error>::custom)
            }
        }
    }
}
